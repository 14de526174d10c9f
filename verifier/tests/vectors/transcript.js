// Prints tests/vectors/transcript.txt: rho, alpha, e, statement digest. Independent of the Rust code: BigInt and js-sha3 (a
// dependency of the pinned solc). Run: node verifier/tests/vectors/transcript.js > verifier/tests/vectors/transcript.txt
"use strict";
const path = require("path");
const { createRequire } = require("module");
const tools = path.join(__dirname, "../../../.ci/node_modules/solc/package.json");
const { keccak256 } = createRequire(tools)("js-sha3");

const r = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const word = (x) => x.toString(16).padStart(64, "0");
const text = (s) => Buffer.from(s).toString("hex").padEnd(64, "0");
const hash = (...hex) => keccak256(Buffer.from(hex.join(""), "hex"));

const digest = "42".repeat(32);
const words = [5n, 7n, r - 1n];
// 2·G1, from EIP-196's test vectors.
const c1 = [
  "030644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd3",
  "15ed738c0e0a7c92e7845f96b2ae9c0a68a6a449e3538fc7ff3ebf7a5a18a2c4",
];
const challenge = (i) =>
  BigInt("0x" + hash(text("zkinfer/ultragroth/challenge/v1"), digest, ...words.map(word), ...c1, word(i))) % r;
const [rho, alpha] = [challenge(1n), challenge(2n)];
let [e, power] = [0n, 1n];
for (const w of words) {
  e = (e + w * power) % r;
  power = (power * alpha) % r;
}
console.log(word(rho));
console.log(word(alpha));
console.log(word(e));
console.log(hash(text("zkinfer/statement/v1"), digest, word(5n), "00010203".padEnd(64, "0")));
