#!/usr/bin/env node
// solc over standard JSON: the input object on stdin, the result object on stdout.
// Uses .ci/node_modules/solc, pinned in .ci/package.json; needs no network.
"use strict";
const fs = require("fs");
const path = require("path");
const solc = require(path.join(__dirname, "node_modules", "solc"));

if (process.argv[2] === "--version") {
  process.stdout.write(`Version: ${solc.version()}\n`);
} else {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
}
