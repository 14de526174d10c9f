// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title Halo2KzgVerifier: one contract for all circuits (PLONK over KZG with SHPLONK openings, BN254)
/// @notice Call a key contract, never this one: a key contract hands its calls on to this code with DELEGATECALL, and this code reads
///         the key from the code of the contract that was called. Both entry points return true or revert; they never return false.
///         Pin the key contract by its code hash. Proof bytes identify nothing: never use them as an id or a nullifier.
/// @dev No storage, no creation, no calls but to precompiles 5, 6, 7 and 8.
///      The key is the tail of the called contract's code, an image and one word:
///      image: counts ‖ arithmetic ‖ words absorbed ‖ point arithmetic ‖ constants ‖ points ‖ domain ‖ vk digest ‖ circuit hash;
///      last word: format (24 bytes) ‖ number of digests (2) ‖ words of the image (2) ‖ number of public bytes (4).
///      The image is copied to memory, the words of the statement behind it, then the proof, then what is computed; a slot is
///      the number of a 32-byte place from the start of the image. Counts, 16 bits each from the left:
///      k, commitments, evaluations, challenges, which challenge x is, first word of the second arithmetic, first of the words
///      absorbed, first of the point arithmetic, slot of the product to invert, of 1/ω, of [s] in G2, of the results, of the
///      chains, number of slots.
contract Halo2KzgVerifier {
    /// The calldata is not the canonical ABI encoding of arguments with the lengths that the key fixes.
    error InvalidLength();
    /// The context is not below 2^253, a packed word is not below 2^248, the padding of the last is not zero, or a digest is not
    /// below the order of the scalar field.
    error InvalidWord();
    /// A point of the proof is infinity, has a coordinate not below the base-field modulus, or is not on the curve.
    error InvalidPoint();
    /// An evaluation of the proof is not below the order of the groups.
    error InvalidScalar();
    /// The proof does not prove this statement under this key.
    error InvalidProof();
    /// The called contract has no key: this contract was called itself.
    error NoKey();

    /// Order of the groups.
    uint256 private constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;
    /// Modulus of the base field.
    uint256 private constant Q = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    /// "zkinfer/halo2-kzg/key/v1"
    uint256 private constant FORMAT = 0x7a6b696e6665722f68616c6f322d6b7a672f6b65792f7631;

    /// @notice Checks a proof of a statement given as the bytes of its public tensors and the digests of its hashed ones.
    /// @param context       253-bit value that binds the proof to a task; recompute it, never take it from the prover.
    /// @param publicTensors The public tensors, concatenated: inputs, then outputs; an element x of a type with minimum m
    ///                      is x − m in 1, 2 or 4 big-endian bytes. Behind them 32 bytes of the digest of each hashed tensor.
    /// @param proof         Commitments ‖ evaluations ‖ two opening commitments; points as in EIP-196.
    /// @return valid        Always true; an invalid proof reverts.
    function verify(uint256 context, bytes calldata publicTensors, bytes calldata proof)
        external
        view
        returns (bool valid)
    {
        (uint256 image, uint256 words, uint256 end, uint256 publicBytes, uint256 proofBytes) = _open();
        assembly ("memory-safe") {
            let tensors := publicTensors.offset
            // Behind the packed words, of 31 bytes of the tensors each, stand the digests.
            let packed := add(words, shl(5, add(1, div(add(publicBytes, 30), 31))))
            // The one canonical encoding: 4 selector, 3 heads, length, data padded to words, length, proof padded.
            let head := add(publicBytes, sub(end, packed))
            let wrong := xor(tensors, 0x84)
            wrong := or(wrong, xor(publicTensors.length, head))
            head := and(add(head, 31), not(31))
            wrong := or(wrong, xor(proof.offset, add(0xa4, head)))
            wrong := or(wrong, xor(proof.length, proofBytes))
            wrong := or(wrong, xor(calldatasize(), add(proof.offset, proofBytes)))
            let used := and(publicBytes, 31)
            if used { wrong := or(wrong, shl(shl(3, used), calldataload(add(tensors, sub(head, 32))))) }
            if wrong {
                mstore(0, 0x947d5a84) // InvalidLength()
                revert(0x1c, 4)
            }
            if shr(253, context) {
                mstore(0, 0xd1bf1a92) // InvalidWord()
                revert(0x1c, 4)
            }

            // words = [context, 31 bytes of tensors in each, the last padded with zeros on the right], four at a time:
            // up to three words behind the last are overwritten by the digests and the proof, which is longer.
            mstore(words, context)
            let word := add(words, 32)
            for {} lt(word, packed) {} {
                mstore(word, shr(8, calldataload(tensors)))
                mstore(add(word, 0x20), shr(8, calldataload(add(tensors, 31))))
                mstore(add(word, 0x40), shr(8, calldataload(add(tensors, 62))))
                mstore(add(word, 0x60), shr(8, calldataload(add(tensors, 93))))
                word := add(word, 0x80)
                tensors := add(tensors, 124)
            }
            // Of the last word, keep what is left of the tensors: the calldata behind them is digests' and the proof's.
            if publicBytes {
                let spare := shl(3, sub(mul(sub(shr(5, sub(packed, words)), 1), 31), publicBytes))
                word := sub(packed, 32)
                mstore(word, shl(spare, shr(spare, mload(word))))
            }
            tensors := add(publicTensors.offset, publicBytes)
            for { word := packed } lt(word, end) { word := add(word, 32) } {
                if iszero(lt(calldataload(tensors), R)) {
                    mstore(0, 0xd1bf1a92) // InvalidWord()
                    revert(0x1c, 4)
                }
                mstore(word, calldataload(tensors))
                tensors := add(tensors, 32)
            }
            calldatacopy(end, proof.offset, proofBytes)
        }
        _check(image, words, end);
        return true;
    }

    /// @notice Checks a proof of a statement given as its words.
    /// @param words  The context (below 2^253), then the packed public tensors (each below 2^248, the last padded with
    ///               zeros on the right), then the digests of hashed tensors (each below the order of the scalar field).
    /// @param proof  Commitments ‖ evaluations ‖ two opening commitments; points as in EIP-196.
    /// @return valid Always true; an invalid proof reverts.
    function verifyProof(uint256[] calldata words, bytes calldata proof) external view returns (bool valid) {
        (uint256 image, uint256 start, uint256 end, uint256 publicBytes, uint256 proofBytes) = _open();
        assembly ("memory-safe") {
            let wrong := xor(words.offset, 0x64)
            wrong := or(wrong, xor(words.length, shr(5, sub(end, start))))
            wrong := or(wrong, xor(proof.offset, add(0x84, sub(end, start))))
            wrong := or(wrong, xor(proof.length, proofBytes))
            wrong := or(wrong, xor(calldatasize(), add(proof.offset, proofBytes)))
            if wrong {
                mstore(0, 0x947d5a84) // InvalidLength()
                revert(0x1c, 4)
            }
            calldatacopy(start, 0x64, sub(end, start))
            let word := add(start, 32)
            // Of the packed words; the digests behind them follow.
            let packed := add(word, shl(5, div(add(publicBytes, 30), 31)))
            let data := 0
            for {} lt(word, packed) { word := add(word, 32) } { data := or(data, mload(word)) }
            let bad := or(shr(253, mload(start)), shr(248, data))
            // Bits of the last word behind the tensors; none of the context, if there are no tensors.
            let spare := shl(3, sub(mul(div(add(publicBytes, 30), 31), 31), publicBytes))
            bad := or(bad, shl(sub(256, spare), mload(sub(packed, 32))))
            for {} lt(word, end) { word := add(word, 32) } { bad := or(bad, iszero(lt(mload(word), R))) }
            if bad {
                mstore(0, 0xd1bf1a92) // InvalidWord()
                revert(0x1c, 4)
            }
            calldatacopy(end, proof.offset, proofBytes)
        }
        _check(image, start, end);
        return true;
    }

    /// @notice keccak256 of the encoded verifying key.
    /// @return digest The digest every transcript of this key starts from.
    function vkDigest() external view returns (bytes32 digest) {
        assembly ("memory-safe") {
            extcodecopy(address(), 0, sub(extcodesize(address()), 32), 32)
            if xor(shr(64, mload(0)), FORMAT) {
                mstore(0, 0x80246e7f) // NoKey()
                revert(0x1c, 4)
            }
            extcodecopy(address(), 0, sub(extcodesize(address()), 96), 32)
            digest := mload(0)
        }
    }

    /// Copies the image to memory and allocates all of its slots; the words of the statement stand from `words` up to `end`.
    function _open()
        private
        view
        returns (uint256 image, uint256 words, uint256 end, uint256 publicBytes, uint256 proofBytes)
    {
        assembly ("memory-safe") {
            let last := sub(extcodesize(address()), 32)
            extcodecopy(address(), 0, last, 32)
            let tail := mload(0)
            if xor(shr(64, tail), FORMAT) {
                mstore(0, 0x80246e7f) // NoKey()
                revert(0x1c, 4)
            }
            publicBytes := and(tail, 0xffffffff)
            image := mload(0x40)
            let length := and(shr(27, tail), 0x1fffe0)
            extcodecopy(address(), image, sub(last, length), length)
            words := add(image, length)
            // Context, packed public tensors, digests.
            end := add(words, shl(5, add(1, add(div(add(publicBytes, 30), 31), and(shr(48, tail), 0xffff)))))
            let head := mload(image)
            proofBytes := add(shl(6, and(shr(224, head), 0xffff)), shl(5, add(and(shr(208, head), 0xffff), 4)))
            mstore(0x40, add(image, and(shr(27, head), 0x1fffe0)))
        }
    }

    /// Reverts unless the proof at `proof` proves the words from `words` up to it.
    function _check(uint256 image, uint256 words, uint256 proof) private view {
        assembly ("memory-safe") {
            function fail(selector) {
                mstore(0, selector)
                revert(0x1c, 4)
            }
            // The count at this position, and 32 times as much: an offset from the image, or a length.
            function count(image_, i) -> value {
                value := shr(240, mload(add(image_, add(i, i))))
            }
            function slot(image_, i) -> offset {
                offset := shl(5, shr(240, mload(add(image_, add(i, i)))))
            }
            // Whether a point from `at` up to `end` is infinity, not canonical or not on the curve; y is 0 for infinity only.
            function points(at, end) -> bad {
                for {} lt(at, end) { at := add(at, 64) } {
                    let x := mload(at)
                    let y := mload(add(at, 32))
                    bad := or(bad, iszero(and(lt(x, Q), lt(sub(y, 1), sub(Q, 1)))))
                    bad := or(bad, xor(mulmod(y, y, Q), addmod(mulmod(x, mulmod(x, x, Q), Q), 3, Q)))
                }
            }
            // d = a·b + c for each operation of the words from `at` up to `end`; results are written from `next` on. Five
            // operations a word, three slots an operation. Sums stay below 2^256: the generator of the key follows their bounds.
            function run(image_, at, end, next) -> behind {
                for {} lt(at, end) { at := add(at, 32) } {
                    let w := mload(at)
                    let a := mload(add(image_, and(shr(235, w), 0x1fffe0)))
                    let b := mload(add(image_, and(shr(219, w), 0x1fffe0)))
                    mstore(next, add(mulmod(a, b, R), mload(add(image_, and(shr(203, w), 0x1fffe0)))))
                    a := mload(add(image_, and(shr(187, w), 0x1fffe0)))
                    b := mload(add(image_, and(shr(171, w), 0x1fffe0)))
                    mstore(add(next, 0x20), add(mulmod(a, b, R), mload(add(image_, and(shr(155, w), 0x1fffe0)))))
                    a := mload(add(image_, and(shr(139, w), 0x1fffe0)))
                    b := mload(add(image_, and(shr(123, w), 0x1fffe0)))
                    mstore(add(next, 0x40), add(mulmod(a, b, R), mload(add(image_, and(shr(107, w), 0x1fffe0)))))
                    a := mload(add(image_, and(shr(91, w), 0x1fffe0)))
                    b := mload(add(image_, and(shr(75, w), 0x1fffe0)))
                    mstore(add(next, 0x60), add(mulmod(a, b, R), mload(add(image_, and(shr(59, w), 0x1fffe0)))))
                    a := mload(add(image_, and(shr(43, w), 0x1fffe0)))
                    b := mload(add(image_, and(shr(27, w), 0x1fffe0)))
                    mstore(add(next, 0x80), add(mulmod(a, b, R), mload(add(image_, and(shr(11, w), 0x1fffe0)))))
                    next := add(next, 0xa0)
                }
                behind := next
            }
            // The point at `at` times the scalar behind it, in its place.
            function multiply(at) -> ok {
                ok := staticcall(gas(), 7, at, 96, at, 64)
                ok := and(ok, eq(returndatasize(), 64))
            }
            // The point at `at` plus the one behind it, in its place.
            function sum(at) -> ok {
                ok := staticcall(gas(), 6, at, 128, at, 64)
                ok := and(ok, eq(returndatasize(), 64))
            }

            // Canonical points and scalars. `evals` and `openings` are the ends of commitments and of evaluations.
            let evals := add(proof, shl(6, count(image, 1)))
            let openings := add(evals, slot(image, 2))
            if or(points(proof, evals), points(openings, add(openings, 128))) { fail(0xb8fedf87) } // InvalidPoint()
            {
                let bad := 0
                for { let at := evals } lt(at, openings) { at := add(at, 32) } {
                    bad := or(bad, iszero(lt(mload(at), R)))
                }
                if bad { fail(0x05b05ccc) } // InvalidScalar()
            }

            // Challenges. The first hash is over domain ‖ vk digest ‖ circuit hash ‖ words ‖ first commitments; each later one over
            // the hash before it ‖ what follows in the proof, for which that hash takes the place in front for a moment; or over
            // the hash before it ‖ 0x01, if nothing follows.
            let challenges := add(openings, 128)
            let runtime := add(challenges, slot(image, 3))
            {
                let table := add(image, slot(image, 6))
                let length := shl(5, shr(240, mload(table)))
                let at := add(proof, length)
                let hash := keccak256(sub(words, 96), sub(at, sub(words, 96)))
                mstore(challenges, mod(hash, R))
                for { let next := add(challenges, 32) } lt(next, runtime) { next := add(next, 32) } {
                    table := add(table, 2)
                    length := shl(5, shr(240, mload(table)))
                    switch length
                    case 0 {
                        mstore(0, hash)
                        mstore8(32, 1)
                        hash := keccak256(0, 33)
                    }
                    default {
                        let front := sub(at, 32)
                        let kept := mload(front)
                        mstore(front, hash)
                        hash := keccak256(front, add(length, 32))
                        mstore(front, kept)
                        at := add(at, length)
                    }
                    mstore(next, mod(hash, R))
                }
            }

            // x^n, and N/D = Σ_{i≥1} word_i / (x·ω^−i − 1). A factor is below 2R; so is N.
            {
                let x := mload(add(challenges, slot(image, 4)))
                let power := x
                for { let i := count(image, 0) } i { i := sub(i, 1) } { power := mulmod(power, power, R) }
                mstore(runtime, power)
                let step := mload(add(image, slot(image, 9)))
                let n := 0
                let d := 1
                for { let word := add(words, 32) } lt(word, proof) { word := add(word, 32) } {
                    x := mulmod(x, step, R)
                    let factor := add(x, sub(R, 1))
                    n := add(mulmod(n, factor, R), mulmod(mload(word), d, R))
                    d := mulmod(d, factor, R)
                }
                mstore(add(runtime, 32), mod(n, R))
                mstore(add(runtime, 64), d)
            }

            // Arithmetic; between its two parts one inversion, of the product of all denominators: if one is zero, so is the product.
            let scratch := sub(add(image, slot(image, 13)), 512)
            {
                let middle := add(image, slot(image, 5))
                let next := run(image, add(image, 32), middle, add(image, slot(image, 11)))
                let product := mload(add(image, slot(image, 8)))
                mstore(scratch, 32)
                mstore(add(scratch, 32), 32)
                mstore(add(scratch, 64), 32)
                mstore(add(scratch, 96), product)
                mstore(add(scratch, 128), sub(R, 2))
                mstore(add(scratch, 160), R)
                let inverse := add(runtime, 96)
                mstore(inverse, 0)
                let ok := staticcall(gas(), 5, scratch, 192, inverse, 32)
                ok := and(ok, eq(returndatasize(), 32))
                ok := and(ok, eq(mulmod(product, mload(inverse), R), 1))
                if iszero(ok) { fail(0x09bde339) } // InvalidProof()
                next := run(image, middle, add(image, slot(image, 6)), next)
            }

            // Point arithmetic, 16-bit entries: the chains (points, slot of the multiplier, slots of the points), Horner's rule in
            // each; then the number of terms, the first point, and (slot of the scalar, slot of the point) of each term.
            let entry := add(image, slot(image, 7))
            {
                let chain := add(image, slot(image, 12))
                for { let chains := count(entry, 0) } chains { chains := sub(chains, 1) } {
                    let more := sub(count(entry, 1), 1)
                    let at := mload(add(image, slot(entry, 2)))
                    let point := add(image, slot(entry, 3))
                    mstore(scratch, mload(point))
                    mstore(add(scratch, 32), mload(add(point, 32)))
                    entry := add(entry, 6)
                    for {} more { more := sub(more, 1) } {
                        mstore(add(scratch, 64), at)
                        let ok := multiply(scratch)
                        point := add(image, slot(entry, 1))
                        mstore(add(scratch, 64), mload(point))
                        mstore(add(scratch, 96), mload(add(point, 32)))
                        ok := and(ok, sum(scratch))
                        if iszero(ok) { fail(0x09bde339) } // InvalidProof()
                        entry := add(entry, 2)
                    }
                    mstore(chain, mload(scratch))
                    mstore(add(chain, 32), mload(add(scratch, 32)))
                    chain := add(chain, 64)
                }
            }
            // From here on: W' 2 words, [s] 4, F + u·W' 2, −[1] 4, in front of them the term at hand.
            let pairs := add(scratch, 96)
            {
                let point := add(image, slot(entry, 2))
                // The sum stands behind W' and [s]; each product is added from behind it, where −[1] comes last.
                let total := add(pairs, 192)
                mstore(total, mload(point))
                mstore(add(total, 32), mload(add(point, 32)))
                let terms := count(entry, 1)
                entry := add(entry, 6)
                for {} terms { terms := sub(terms, 1) } {
                    let term := add(total, 64)
                    point := add(image, slot(entry, 1))
                    mstore(term, mload(point))
                    mstore(add(term, 32), mload(add(point, 32)))
                    mstore(add(term, 64), mload(add(image, slot(entry, 0))))
                    let ok := multiply(term)
                    ok := and(ok, sum(total))
                    if iszero(ok) { fail(0x09bde339) } // InvalidProof()
                    entry := add(entry, 4)
                }
            }

            // e(W', [s]) · e(F + u·W', −[1]) = 1.
            mstore(pairs, mload(add(openings, 64)))
            mstore(add(pairs, 32), mload(add(openings, 96)))
            {
                let s := add(image, slot(image, 10))
                mstore(add(pairs, 64), mload(s))
                mstore(add(pairs, 96), mload(add(s, 32)))
                mstore(add(pairs, 128), mload(add(s, 64)))
                mstore(add(pairs, 160), mload(add(s, 96)))
            }
            mstore(add(pairs, 256), 0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2)
            mstore(add(pairs, 288), 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed)
            mstore(add(pairs, 320), 0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec)
            mstore(add(pairs, 352), 0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d)
            mstore(0, 0)
            let ok := staticcall(gas(), 8, pairs, 384, 0, 32)
            ok := and(ok, eq(returndatasize(), 32))
            ok := and(ok, eq(mload(0), 1))
            if iszero(ok) { fail(0x09bde339) } // InvalidProof()
        }
    }
}

/// @title Halo2KzgDeployer: turns a key into a contract that is called to verify its proofs
/// @notice The code it leaves behind hands every call on to a Halo2KzgVerifier, whose address is part of that code, and ends with the key.
contract Halo2KzgDeployer {
    /// The key was made by one party, who can forge proofs: it may be deployed on chain id 31337 only.
    error DevelopmentKey();
    /// The key does not end as a key of this format does, or announces more than 2^24 public bytes.
    error InvalidKey();
    /// There is no Halo2KzgVerifier at the given address, or it could not be created.
    error InvalidVerifier();

    /// @param development Whether one party made the key.
    /// @param verifier    A Halo2KzgVerifier that stands already, or zero: then one is created.
    /// @param key         The key, as Halo2KzgVerifier describes it.
    constructor(bool development, address verifier, bytes memory key) {
        if (development && block.chainid != 31337) revert DevelopmentKey();
        uint256 tail;
        assembly ("memory-safe") {
            tail := mload(add(key, mload(key)))
        }
        bool ends = key.length % 32 == 0 && key.length == 32 * ((tail >> 32) % (1 << 16) + 1);
        bool known = bytes24(bytes32(tail)) == "zkinfer/halo2-kzg/key/v1" && uint32(tail) <= 1 << 24;
        if (!ends || !known) revert InvalidKey();
        bytes memory runtime = type(Halo2KzgVerifier).runtimeCode;
        if (verifier == address(0)) {
            // Creation code that returns what follows its eleven bytes.
            bytes memory creation = bytes.concat(hex"600b380380600b5f395ff3", runtime);
            assembly ("memory-safe") {
                verifier := create(0, add(creation, 32), mload(creation))
            }
        }
        if (verifier.codehash != keccak256(runtime)) revert InvalidVerifier();
        // The verifier's code must be that code in every call: an address can lose its code in the transaction that made it, and get another.
        // extcodehash(verifier) == hash or revert; calldatacopy(0, 0, calldatasize); delegatecall(gas, verifier, 0, calldatasize, 0, 0); returndatacopy(0, 0, returndatasize);
        // return or revert with it, as the call did.
        bytes memory guard = abi.encodePacked(hex"73", verifier, hex"3f7f", keccak256(runtime), hex"14603e575f5ffd5b");
        bytes memory code =
            abi.encodePacked(guard, hex"365f5f375f5f365f73", verifier, hex"5af43d5f5f3e6068573d5ffd5b3d5ff3", key);
        assembly ("memory-safe") {
            return(add(code, 32), mload(code))
        }
    }
}
