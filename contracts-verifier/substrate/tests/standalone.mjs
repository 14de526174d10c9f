// The standalone verifier under Node's own WebAssembly, as a browser would use it:
//   node standalone.mjs zkinfer_verifier_wasm.wasm BUNDLE...
// A bundle is a folder with verifying.key and proof.json, as `zkinfer setup` and `zkinfer prove` write them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [wasm, ...bundles] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {});
const { alloc, dealloc, memory, verify } = instance.exports;

function verdict(envelope) {
  const pointer = alloc(envelope.length) >>> 0;
  assert.notEqual(pointer, 0);
  new Uint8Array(memory.buffer).set(envelope, pointer);
  const code = verify(pointer, envelope.length);
  dealloc(pointer, envelope.length);
  return code;
}

function prefixed(bytes) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function envelope({ key, context, publics, proof }) {
  return Buffer.concat([prefixed(key), context, prefixed(publics), prefixed(proof)]);
}

function flipped(bytes, at) {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1;
  return copy;
}

assert.ok(bundles.length > 0, "no bundle");
for (const bundle of bundles) {
  const json = JSON.parse(readFileSync(join(bundle, "proof.json"), "utf8"));
  const hex = (name) => Buffer.from(json[name].slice(2), "hex");
  const honest = {
    key: readFileSync(join(bundle, "verifying.key")),
    context: hex("context"),
    // Behind the public tensors stand the digests of hashed ones.
    publics: Buffer.from([json.publics, ...(json.digests ?? [])].map((text) => text.slice(2)).join(""), "hex"),
    proof: hex("proof"),
  };
  assert.equal(verdict(envelope(honest)), 0);
  // The last bytes of every part are bound in every system.
  for (const part of ["key", "context", "publics", "proof"]) {
    for (let back = 1; back <= 8; back += 1) {
      const damaged = { ...honest, [part]: flipped(honest[part], honest[part].length - back) };
      assert.ok(verdict(envelope(damaged)) < 0, `${json.system}: ${part}, ${back} from the end`);
    }
  }
  assert.equal(verdict(envelope(honest).subarray(0, -1)), -1);
  console.log(`${json.system}: accepted under node ${process.versions.node}; every damaged envelope refused`);
}
