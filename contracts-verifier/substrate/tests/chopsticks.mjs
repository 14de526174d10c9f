// The runtime's WASM under chopsticks, spoken to by polkadot.js over RPC: keys are registered, proofs verified, lies refused by name.
//
//     chopsticks.mjs SPEC BUNDLE...
//
// SPEC is a raw chain specification with the runtime and endowed accounts //Alice and //Bob; a bundle is a folder with verifying.key,
// proof.json and proof2.json, proofs of two inputs, and with verify.hex and register_key.hex, the calls that `zkinfer verifier --target
// substrate --proof proof.json` writes to calls/: polkadot.js's own are the same.

import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'

process.env.LOG_LEVEL ??= 'error'
const tools = createRequire(new URL('../../../.ci/package.json', import.meta.url))
const { setupWithServer } = tools('@acala-network/chopsticks')
const { ApiPromise, Keyring, WsProvider } = tools('@polkadot/api')

const ALREADY = 'AlreadyAttested'

function read (bundle) {
  const proof = (name) => {
    const { digests = [], ...proof } = JSON.parse(readFileSync(join(bundle, name), 'utf8'))
    // Behind the public tensors stand the digests of hashed ones.
    const publics = proof.publics + digests.map((digest) => digest.slice(2)).join('')
    return { ...proof, publics, digests: digests.length }
  }
  const key = '0x' + readFileSync(join(bundle, 'verifying.key')).toString('hex')
  return { bundle, key, one: proof('proof.json'), two: proof('proof2.json') }
}

/** The hexadecimal text with the bit `mask` of byte `at` flipped. */
function flipped (hex, at, mask = 1) {
  const bytes = Buffer.from(hex.slice(2), 'hex')
  bytes[at] ^= mask
  return '0x' + bytes.toString('hex')
}

class Chain {
  constructor (api, signer) {
    this.api = api
    this.signer = signer
    this.account = '0x' + Buffer.from(signer.publicKey).toString('hex')
    this.nonce = 0
  }

  /** Signs, submits, waits for the block: the events, or the name of the error. */
  async send (tx) {
    return await new Promise((resolve, reject) => {
      tx.signAndSend(this.signer, { nonce: this.nonce++ }, ({ status, events, dispatchError }) => {
        if (!status.isInBlock) return
        if (!dispatchError) return resolve({ events: events.map(({ event }) => event) })
        assert(dispatchError.isModule, dispatchError.toString())
        const { section, name, docs } = this.api.registry.findMetaError(dispatchError.asModule)
        assert.equal(section, 'zkinferVerifier')
        assert(docs.join('').length > 0)
        resolve({ error: name })
      }).catch(reject)
    })
  }

  verify ({ vk_digest: key, context, publics, proof }) {
    return this.api.tx.zkinferVerifier.verify(key, context, publics, proof)
  }

  async event (tx, name) {
    const { events, error } = await this.send(tx)
    assert.equal(error, undefined)
    const event = events.find((event) => event.section === 'zkinferVerifier' && event.method === name)
    assert(event, name)
    return event.data
  }

  async refused (tx, name) {
    const { error } = await this.send(tx)
    assert.equal(error, name)
  }
}

async function check (chain, { bundle, key, one, two }) {
  const { api } = chain
  const register = api.tx.zkinferVerifier.registerKey(key)
  await chain.refused(chain.verify(one), 'KeyUnknown')
  await chain.refused(api.tx.zkinferVerifier.registerKey(flipped(key, 0)), 'KeyMalformed')
  await chain.refused(api.tx.zkinferVerifier.registerKey(flipped(key, (key.length - 2) / 2 - 1)), 'KeyPoint')
  const registered = await chain.event(register, 'KeyRegistered')
  assert.equal(registered.key.toHex(), one.vk_digest)
  await chain.refused(register, 'KeyKnown')

  const { vk_digest: digest, context, publics, proof } = one
  const answer = await api.call.zkinferVerifierApi.check(digest, context, publics, proof)
  assert(answer.isOk, answer.toString())
  const lie = await api.call.zkinferVerifierApi.check(digest, context, two.publics, proof)
  assert(lie.isErr && lie.asErr.isProofRejected, lie.toString())

  const begun = performance.now()
  const attested = await chain.event(chain.verify(one), 'Attested')
  const seconds = (performance.now() - begun) / 1000
  assert.equal(attested.statement.toHex(), answer.asOk.toHex())
  assert.equal(attested.who.toHex(), chain.account)
  const stored = (await api.query.zkinferVerifier.attestations(attested.statement)).unwrap()
  assert.equal(stored.key.toHex(), digest)
  assert.equal(stored.expires.toNumber() - stored.block.toNumber(), api.consts.zkinferVerifier.attestationLifetime.toNumber())
  const asked = await api.call.zkinferVerifierApi.attestation(attested.statement)
  assert.equal(asked.unwrap().who.toHex(), chain.account)

  await chain.refused(chain.verify(one), ALREADY)
  await chain.refused(chain.verify({ ...two, publics: flipped(two.publics, 3) }), 'ProofRejected')
  await chain.refused(chain.verify({ ...two, proof }), 'ProofRejected')
  await chain.refused(chain.verify({ ...two, context: '0x' + '00'.repeat(31) + '07' }), 'ProofRejected')
  await chain.refused(chain.verify({ ...two, context: '0x20' + '00'.repeat(31) }), 'ContextTooLarge')
  await chain.refused(chain.verify({ ...two, proof: flipped(two.proof, 40) }), 'ProofPoint')
  await chain.refused(chain.verify({ ...two, proof: two.proof + '00' }), 'ProofLength')
  await chain.refused(chain.verify({ ...two, publics: two.publics + '00' }), 'PublicLength')
  await chain.refused(chain.verify({ ...two, vk_digest: flipped(digest, 31) }), 'KeyUnknown')
  let lies = 13
  if (two.digests > 0) {
    const kept = two.publics.slice(0, -64)
    await chain.refused(chain.verify({ ...two, publics: kept + one.publics.slice(-64) }), 'ProofRejected')
    await chain.refused(chain.verify({ ...two, publics: kept + 'f'.repeat(64) }), 'DigestTooLarge')
    await chain.refused(chain.verify({ ...two, publics: kept }), 'PublicLength')
    lies += 3
  }
  await chain.event(chain.verify(two), 'Attested')

  for (const [name, tx] of [['verify', chain.verify(one)], ['register_key', register]]) {
    assert.equal('0x' + readFileSync(join(bundle, `${name}.hex`), 'utf8').trim(), tx.method.toHex(), name)
  }
  const retire = api.tx.zkinferVerifier.retireKey(digest)
  await chain.event(retire, 'KeyRetiring')
  await chain.refused(retire, 'KeyRetiring')
  await chain.event(retire, 'KeyRetired')
  await chain.refused(chain.verify(two), 'KeyUnknown')
  console.log(`${one.system}: registered, 2 proofs attested, ${lies} lies refused by name; a block with one proof in ${seconds.toFixed(1)} s (interpreted)`)
}

const [spec, ...bundles] = process.argv.slice(2)
if (bundles.length === 0) {
  console.error('chopsticks.mjs SPEC BUNDLE...')
  process.exit(2)
}
const server = await setupWithServer({ 'chain-spec': spec, port: 0, host: '127.0.0.1', 'build-block-mode': 'Instant', 'runtime-log-level': 0 })
const api = await ApiPromise.create({ provider: new WsProvider(`ws://${server.addr}`), noInitWarn: true })
const alice = new Keyring({ type: 'sr25519' }).addFromUri('//Alice')
const chain = new Chain(api, alice)
for (const bundle of bundles) await check(chain, read(bundle))
await api.disconnect()
await server.close()
process.exit(0)
