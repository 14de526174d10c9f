#!/usr/bin/env python3
"""Prove one ONNX file on one input with EZKL and with zkinfer, in one run, and print what each step took.

    cargo build --release --bin zkinfer
    npm ci --prefix .ci --ignore-scripts
    benches/peers/ezkl/run.py digits-mlp [MODEL ...] [--repeats 3] [--system ultragroth ...] [--out FILE.md]

The models and inputs are those of circuits/tests/models. EZKL comes from PyPI into .venv beside this file. Every step is a child
process of its own; memory is that child's maximum resident set (ru_maxrss). EZKL's seconds are those of the library call alone
(Python's start-up is left out); zkinfer's are those of the whole process. EZKL runs as it is shipped: PyRunArgs(), calibrated for
"resources", input and output public, parameters fixed, a structured reference string made locally and kept for the next run. CPU seconds
are the less disturbed number on a machine that does other things. Gas is what a transaction to the
deployed verifier uses on anvil (21,000 and calldata included), for both; when it cannot be had the table says why.
"""
import argparse
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
MODELS = ROOT / "circuits" / "tests" / "models"
TOOLS = ROOT / ".ci"
VENV = HERE / ".venv"
WORK = HERE / "work"


def ezkl_step(spec):
    """Runs one EZKL call in this process; prints its seconds and this process's peak memory as the last line."""
    import ezkl

    arguments = spec["arguments"]
    if spec["call"] == "gen_settings":
        run_args = ezkl.PyRunArgs()
        run_args.input_visibility, run_args.output_visibility, run_args.param_visibility = "public", "public", "fixed"
        arguments["py_run_args"] = run_args
    begun, cpu_before = time.monotonic(), time.process_time()
    if spec["call"] == "create_evm_verifier":
        import asyncio

        async def create():
            await ezkl.create_evm_verifier(**arguments)

        # It writes the Solidity file, then tries to download solc, which may fail: the file is what we want.
        try:
            asyncio.run(create())
        except Exception as error:  # noqa: BLE001 (whatever EZKL raises here)
            print(f"create_evm_verifier: {error}", file=sys.stderr)
        done = Path(arguments["sol_code_path"]).exists()
    elif spec["call"] == "calibration_data":
        import numpy

        x = numpy.load(arguments["npz"])["x"][: arguments["samples"]]
        rows = x.reshape(len(x), -1).astype(float).tolist()
        Path(arguments["output"]).write_text(json.dumps({"input_data": rows}))
        done = True
    else:
        done = getattr(ezkl, spec["call"])(**arguments)
        done = done is None or bool(done) or done == 0
    measured = {"seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu_before}
    print(json.dumps({**measured, "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), flush=True)
    # Not a normal exit: EZKL's threads may abort the interpreter's own shutdown after a failed download.
    os._exit(0 if done else 1)


def timed_ezkl(folder, call, **arguments):
    spec = json.dumps({"call": call, "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}})
    print(f"EZKL: {call}", file=sys.stderr)
    python = VENV / "bin" / "python"
    child = subprocess.run([python, __file__, "--ezkl-step", spec], cwd=folder, capture_output=True, text=True, check=False)
    line = child.stdout.strip().splitlines()[-1:] or [""]
    if child.returncode != 0 or not line[0].startswith("{"):
        raise RuntimeError(f"EZKL's {call} failed ({child.returncode}): {child.stderr.strip()[-400:]}")
    return json.loads(line[0])


def timed(command):
    """Runs a command; its output, wall seconds, and its own peak memory from wait4."""
    print(f"zkinfer: {command[1]}", file=sys.stderr)
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        complaint = errors.read().strip()[-400:]
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {complaint}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": time.monotonic() - begun, "cpu": cpu, "kib": usage.ru_maxrss, "output": output}


def run_ezkl(name, repeats, samples):
    folder = WORK / name / "ezkl"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = MODELS / f"{name}.onnx"
    settings, compiled, pk, vk, witness, proof = (
        folder / file for file in ("settings.json", "model.compiled", "pk", "vk", "witness.json", "proof.json")
    )
    steps = {}
    timed_ezkl(folder, "calibration_data", npz=MODELS / f"{name}.calibration.npz", samples=samples, output=folder / "calibration.json")
    steps["settings"] = timed_ezkl(folder, "gen_settings", model=model, output=settings)
    steps["calibrate"] = timed_ezkl(
        folder, "calibrate_settings", data=folder / "calibration.json", model=model, settings=settings, target="resources"
    )
    logrows = json.loads(settings.read_text())["run_args"]["logrows"]
    steps["compile"] = timed_ezkl(folder, "compile_circuit", model=model, compiled_circuit=compiled, settings_path=settings)
    srs = WORK / f"kzg{logrows}.srs"
    if not srs.exists():
        steps["srs"] = timed_ezkl(folder, "gen_srs", srs_path=srs, logrows=logrows)
    steps["setup"] = timed_ezkl(folder, "setup", model=compiled, vk_path=vk, pk_path=pk, srs_path=srs)
    steps["witness"] = timed_ezkl(folder, "gen_witness", data=MODELS / f"{name}.json", model=compiled, output=witness)
    runs = [
        timed_ezkl(folder, "prove", witness=witness, model=compiled, pk_path=pk, proof_path=proof, srs_path=srs)
        for _ in range(repeats)
    ]
    steps["prove"] = median(runs)
    steps["verify"] = timed_ezkl(folder, "verify", proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs)
    result = {
        "steps": steps,
        "prove_runs": [run["seconds"] for run in runs],
        "size": f"2^{logrows} rows",
        "pk": pk.stat().st_size,
        "vk": vk.stat().st_size,
        "proof": len(proof_bytes(json.loads(proof.read_text()))),
    }
    try:
        source = folder / "verifier.sol"
        timed_ezkl(
            folder, "create_evm_verifier", vk_path=vk, settings_path=settings, sol_code_path=source,
            abi_path=folder / "abi.json", srs_path=srs, reusable=False,
        )
        timed_ezkl(folder, "encode_evm_calldata", proof=proof, calldata=folder / "calldata")
        calldata = (folder / "calldata").read_bytes()
        result.update(gas_on_anvil(compile_solidity(source.read_text(), "Halo2Verifier"), calldata))
    except (RuntimeError, OSError) as error:
        result["gas"] = f"not measured: {error}"
    return result


def run_zkinfer(name, repeats, system, binary):
    folder = WORK / name / f"zkinfer-{system}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bundle, proof = folder / "bundle", folder / "proof.json"
    steps = {}
    steps["compile"] = timed(
        [binary, "compile", MODELS / f"{name}.onnx", "-o", bundle, "--calibration", MODELS / f"{name}.calibration.npz", "--system", system]
    )
    steps["setup"] = timed([binary, "setup", bundle])
    runs = [timed([binary, "prove", bundle, "--input", MODELS / f"{name}.json", "-o", proof]) for _ in range(repeats)]
    steps["prove"] = median(runs)
    steps["verify"] = timed([binary, "verify", bundle, proof])
    result = {
        "steps": steps,
        "prove_runs": [run["seconds"] for run in runs],
        "pk": (bundle / "proving.key").stat().st_size,
        "vk": (bundle / "verifying.key").stat().st_size,
        "proof": len(proof_bytes(json.loads(proof.read_text()))),
    }
    try:
        timed([binary, "verifier", bundle, "--target", "solidity", "--allow-dev-key", "-o", folder / "solidity"])
        calldata = timed([binary, "calldata", bundle, proof])["output"].strip()
        if (folder / "solidity" / "ZkinferVerifier.bin").exists():
            creation_code = (folder / "solidity" / "ZkinferVerifier.bin").read_text().strip()
        else:
            # halo2-kzg: the specialised contract is Solidity to be compiled, as EZKL's is
            creation_code = compile_solidity((folder / "solidity" / "ZkinferVerifier.sol").read_text(), "ZkinferVerifier")
        result.update(gas_on_anvil(creation_code, bytes.fromhex(calldata.removeprefix("0x"))))
    except (RuntimeError, OSError, ValueError) as error:
        result["gas"] = f"not measured: {error}"
    return result


def proof_bytes(document):
    """The proof in a proof.json of either prover: a list of bytes, or hex."""
    proof = document.get("proof")
    return bytes(proof) if isinstance(proof, list) else bytes.fromhex(proof.removeprefix("0x"))


def median(runs):
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def compile_solidity(source, contract):
    """Creation code of one contract."""
    request = {
        "language": "Solidity",
        "sources": {"verifier.sol": {"content": source}},
        "settings": {"optimizer": {"enabled": True, "runs": 200}, "outputSelection": {"*": {"*": ["evm.bytecode.object"]}}},
    }
    child = subprocess.run(["node", TOOLS / "solc.js"], input=json.dumps(request), capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise RuntimeError(f"solc: {child.stderr.strip()[-300:]}")
    answer = json.loads(child.stdout)
    errors = [e["formattedMessage"] for e in answer.get("errors", []) if e["severity"] == "error"]
    if errors:
        raise RuntimeError(f"solc: {errors[0][:300]}")
    return answer["contracts"]["verifier.sol"][contract]["evm"]["bytecode"]["object"]


def gas_on_anvil(creation_code, calldata):
    """Deploys on a fresh node, calls in a transaction; refuses a verifier that does not say yes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    anvil = TOOLS / "node_modules" / ".bin" / "anvil"
    command = [anvil, "--silent", "--port", str(port), "--disable-code-size-limit", "--chain-id", "31337"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as node:

        def rpc(method, *params):
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            return answer["result"]

        try:
            for _ in range(100):
                try:
                    account = rpc("eth_accounts")[0]
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise RuntimeError("anvil did not answer within 10 s")

            def send(**transaction):
                sent = rpc("eth_sendTransaction", {"from": account, "gas": hex(16_000_000), **transaction})
                receipt = None
                for _ in range(200):
                    receipt = rpc("eth_getTransactionReceipt", sent)
                    if receipt:
                        break
                    time.sleep(0.05)
                if not receipt or receipt["status"] != "0x1":
                    raise RuntimeError("the transaction reverted")
                return receipt

            address = send(data="0x" + creation_code)["contractAddress"]
            call = {"from": account, "to": address, "data": "0x" + calldata.hex()}
            if int(rpc("eth_call", call, "latest"), 16) != 1:
                raise RuntimeError("the verifier did not return 1")
            gas = int(send(to=address, data=call["data"])["gasUsed"], 16)
            code = (len(rpc("eth_getCode", address, "latest")) - 2) // 2
            return {"gas": gas, "code": code, "calldata": len(calldata)}
        finally:
            node.terminate()


def table(name, system, ezkl, ours):
    def seconds(result, step, which="seconds"):
        return result["steps"].get(step, {}).get(which)

    def mib(result, step):
        kib = result["steps"].get(step, {}).get("kib")
        return None if kib is None else kib / 1024

    before = ("settings", "calibrate", "compile", "srs", "setup", "witness")
    rows = [(f"{step} (s)", seconds(ezkl, step), seconds(ours, step)) for step in before]
    rows += [
        ("setup peak memory (MiB)", mib(ezkl, "setup"), mib(ours, "setup")),
        ("**prove (s)**", seconds(ezkl, "prove"), seconds(ours, "prove")),
        ("prove (CPU s)", seconds(ezkl, "prove", "cpu"), seconds(ours, "prove", "cpu")),
        ("**prove peak memory (MiB)**", mib(ezkl, "prove"), mib(ours, "prove")),
        ("verify (s)", seconds(ezkl, "verify"), seconds(ours, "verify")),
        ("**proving key (bytes)**", ezkl["pk"], ours["pk"]),
        ("verifying key (bytes)", ezkl["vk"], ours["vk"]),
        ("**proof (bytes)**", ezkl["proof"], ours["proof"]),
        ("**verify transaction (gas)**", ezkl["gas"], ours["gas"]),
        ("verifier contract (bytes)", ezkl.get("code"), ours.get("code")),
        ("calldata (bytes)", ezkl.get("calldata"), ours.get("calldata")),
    ]

    def show(value):
        if value is None:
            return "–"
        if isinstance(value, float):
            return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    def ratio(a, b):
        return f"{a / b:,.1f}" if isinstance(a, (int, float)) and isinstance(b, (int, float)) and b else "–"

    lines = [f"### {name}, zkinfer {system}, EZKL at {ezkl['size']}", "", "| | EZKL | zkinfer | EZKL ÷ zkinfer |", "|---|--:|--:|--:|"]
    lines += [f"| {label} | {show(a)} | {show(b)} | {ratio(a, b)} |" for label, a, b in rows]
    runs = lambda result: ", ".join(f"{s:.2f}" for s in result["prove_runs"])  # noqa: E731
    lines += ["", f"Prove is the median of: EZKL {runs(ezkl)}; zkinfer {runs(ours)}."]
    lines += ["zkinfer's prove includes the witness and its own verification; EZKL's does not."]
    return "\n".join(lines)


def machine():
    cpu = next((l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")), "")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} × {cpu}, {gib:.0f} GiB; load average at the start {load}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=20, help="calibration samples that EZKL gets (zkinfer gets them all)")
    systems = ["ultragroth", "groth16", "halo2-kzg"]
    parser.add_argument("--system", nargs="+", default=["ultragroth"], choices=systems, help="proof systems of zkinfer")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--zkinfer", type=Path, default=target / "release" / "zkinfer", help="the binary (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    if not options.zkinfer.exists():
        parser.error(f"{options.zkinfer} does not exist: cargo build --release --bin zkinfer")
    if not (TOOLS / "node_modules" / "solc").exists():
        parser.error("solc and anvil are missing: npm ci --prefix .ci --ignore-scripts")
    if not (VENV / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        (VENV / "ready").touch()
    WORK.mkdir(exist_ok=True)
    version = (HERE / "requirements.txt").read_text().splitlines()[0].replace("==", " ")
    text = [f"{date.today()}; {machine()}; {version}.", "", f"Command: `benches/peers/ezkl/run.py {' '.join(sys.argv[1:])}`", ""]
    for name in options.models:
        ours = {system: run_zkinfer(name, options.repeats, system, options.zkinfer.resolve()) for system in options.system}
        ezkl = run_ezkl(name, options.repeats, options.samples)
        for system in options.system:
            text += [table(name, system, ezkl, ours[system]), ""]
    print("\n".join(text))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(text).rstrip() + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ezkl-step"]:
        ezkl_step(json.loads(sys.argv[2]))
    else:
        main()
