// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title Groth16Verifier: accepts exactly the proofs of one verifying key (Groth16 as published, BN254)
/// @notice Both entry points return true or revert; they never return false. Pin this contract by its code hash or its
///         vkDigest. Proof bytes can be re-randomized by anyone and identify nothing: never use them as an id or a nullifier.
/// @dev The key is the tail of the contract's own code, in words of 32 bytes, n being the number of statement words:
///      −α (2), β (4), −γ (4), −δ (4), IC_0..IC_n (2 each), vk digest (1), number of digests · 2^128 +
///      number of public bytes (1).
///      e(A, B) · e(−α, β) · e(IC_0 + Σ word_i · IC_(i+1), −γ) · e(C, −δ) = 1.
contract Groth16Verifier {
    /// The calldata is not the canonical ABI encoding of arguments with the lengths that the key fixes.
    error InvalidLength();
    /// The context is not below 2^253, a packed word is not below 2^248, the padding of the last is not zero, or a digest is not
    /// below the order of the scalar field.
    error InvalidWord();
    /// A coordinate of the proof is not below the base-field modulus, or a point of the proof is infinity.
    error InvalidPoint();
    /// The proof does not prove this statement under this key.
    error InvalidProof();

    /// The largest coordinate, one less than the modulus of the base field.
    uint256 private constant Q_MAX = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd46;
    /// The largest digest, one less than the order of the scalar field.
    uint256 private constant R_MAX = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000000;
    /// Length of an encoded proof: A (2 words), B (4), C (2).
    uint256 private constant PROOF_BYTES = 256;

    /// @notice Checks a proof of a statement given as the bytes of its public tensors and the digests of its hashed ones.
    /// @param context       253-bit value that binds the proof to a task; recompute it, never take it from the prover.
    /// @param publicTensors The public tensors, concatenated: inputs, then outputs; an element x of a type with minimum m
    ///                      is x − m in 1, 2 or 4 big-endian bytes. Behind them 32 bytes of the digest of each hashed tensor.
    /// @param proof         A ‖ B ‖ C in the encoding of EIP-197.
    /// @return valid        Always true; an invalid proof reverts.
    function verify(uint256 context, bytes calldata publicTensors, bytes calldata proof)
        external
        view
        returns (bool valid)
    {
        (uint256 first, uint256 words, uint256 publicBytes) = _open();
        uint256 head;
        uint256 tensors;
        uint256 body;
        assembly ("memory-safe") {
            tensors := publicTensors.offset
            body := proof.offset
            // The one canonical encoding: 4 selector, 3 heads, length, data padded to words, length, proof.
            // The words that are no packed ones are digests of 32 bytes.
            head := add(publicBytes, shl(5, sub(words, add(1, div(add(publicBytes, 30), 31)))))
            let wrong := xor(tensors, 0x84)
            wrong := or(wrong, xor(publicTensors.length, head))
            head := and(add(head, 31), not(31))
            wrong := or(wrong, xor(body, add(0xa4, head)))
            wrong := or(wrong, xor(proof.length, PROOF_BYTES))
            wrong := or(wrong, xor(calldatasize(), add(body, PROOF_BYTES)))
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

            // words = [context, 31 bytes of tensors in each, the last padded with zeros on the right], eight at a time:
            // up to seven words behind the last are overwritten later. Then the digests.
            let word := first
            let end := add(word, shl(5, add(1, div(add(publicBytes, 30), 31))))
            mstore(word, context)
            word := add(word, 32)
            for {} lt(word, end) {} {
                mstore(word, shr(8, calldataload(tensors)))
                mstore(add(word, 0x20), shr(8, calldataload(add(tensors, 31))))
                mstore(add(word, 0x40), shr(8, calldataload(add(tensors, 62))))
                mstore(add(word, 0x60), shr(8, calldataload(add(tensors, 93))))
                mstore(add(word, 0x80), shr(8, calldataload(add(tensors, 124))))
                mstore(add(word, 0xa0), shr(8, calldataload(add(tensors, 155))))
                mstore(add(word, 0xc0), shr(8, calldataload(add(tensors, 186))))
                mstore(add(word, 0xe0), shr(8, calldataload(add(tensors, 217))))
                word := add(word, 0x100)
                tensors := add(tensors, 248)
            }
            // Of the last word, keep what is left of the tensors: the calldata behind them is digests' and the proof's.
            if publicBytes {
                let spare := shl(3, sub(mul(div(add(publicBytes, 30), 31), 31), publicBytes))
                word := sub(end, 32)
                mstore(word, shl(spare, shr(spare, mload(word))))
            }
            tensors := add(publicTensors.offset, publicBytes)
            word := end
            end := add(first, shl(5, words))
            for {} lt(word, end) {} {
                if gt(calldataload(tensors), R_MAX) {
                    mstore(0, 0xd1bf1a92) // InvalidWord()
                    revert(0x1c, 4)
                }
                mstore(word, calldataload(tensors))
                word := add(word, 32)
                tensors := add(tensors, 32)
            }
        }
        _check(first, words, body);
        return true;
    }

    /// @notice Checks a proof of a statement given as its words.
    /// @param words  The context (below 2^253), then the packed public tensors (each below 2^248, the last padded with
    ///               zeros on the right), then the digests of hashed tensors (each below the order of the scalar field).
    /// @param proof  A ‖ B ‖ C in the encoding of EIP-197.
    /// @return valid Always true; an invalid proof reverts.
    function verifyProof(uint256[] calldata words, bytes calldata proof) external view returns (bool valid) {
        (uint256 first, uint256 count, uint256 publicBytes) = _open();
        uint256 body;
        assembly ("memory-safe") {
            body := proof.offset
            let wrong := xor(words.offset, 0x64)
            wrong := or(wrong, xor(words.length, count))
            wrong := or(wrong, xor(body, add(0x84, shl(5, count))))
            wrong := or(wrong, xor(proof.length, PROOF_BYTES))
            wrong := or(wrong, xor(calldatasize(), add(body, PROOF_BYTES)))
            if wrong {
                mstore(0, 0x947d5a84) // InvalidLength()
                revert(0x1c, 4)
            }
            let start := first
            // Of the packed words; the digests behind them follow.
            let end := add(start, shl(5, add(1, div(add(publicBytes, 30), 31))))
            calldatacopy(start, 0x64, sub(end, start))
            // Eight at a time, over zeros behind the last and, for now, in place of the context.
            calldatacopy(end, calldatasize(), 224)
            mstore(start, 0)
            let data := 0
            for { let word := start } lt(word, end) { word := add(word, 0x100) } {
                let a := or(mload(word), mload(add(word, 0x20)))
                let b := or(mload(add(word, 0x40)), mload(add(word, 0x60)))
                let c := or(mload(add(word, 0x80)), mload(add(word, 0xa0)))
                let d := or(mload(add(word, 0xc0)), mload(add(word, 0xe0)))
                data := or(data, or(or(a, b), or(c, d)))
            }
            mstore(start, calldataload(0x64))
            let bad := or(shr(253, mload(start)), shr(248, data))
            // Bits of the last word behind the tensors; none of the context, if there are no tensors.
            let spare := shl(3, sub(mul(div(add(publicBytes, 30), 31), 31), publicBytes))
            bad := or(bad, shl(sub(256, spare), mload(sub(end, 32))))
            for { let last := add(start, shl(5, count)) } lt(end, last) { end := add(end, 32) } {
                let digest := calldataload(add(0x64, sub(end, start)))
                bad := or(bad, gt(digest, R_MAX))
                mstore(end, digest)
            }
            if bad {
                mstore(0, 0xd1bf1a92) // InvalidWord()
                revert(0x1c, 4)
            }
        }
        _check(first, count, body);
        return true;
    }

    /// @notice keccak256 of the encoded verifying key.
    /// @return digest The identity of the key.
    function vkDigest() external pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            mstore(0, 0)
            codecopy(0, sub(codesize(), 64), 32)
            digest := mload(0)
        }
    }

    /// Allocates the words, the pairing input (768 bytes) and scratch space (160 bytes).
    function _open() private pure returns (uint256 first, uint256 words, uint256 publicBytes) {
        assembly ("memory-safe") {
            first := mload(0x40)
            // At least one word is allocated here, and the context overwrites it.
            codecopy(first, sub(codesize(), 32), 32)
            words := mload(first)
            publicBytes := and(words, 0xffffffffffffffffffffffffffffffff)
            words := add(add(1, div(add(publicBytes, 30), 31)), shr(128, words))
            mstore(0x40, add(add(first, shl(5, words)), 928))
        }
    }

    /// Reverts unless the proof at calldata offset `body` proves the words at `first`.
    function _check(uint256 first, uint256 words, uint256 body) private view {
        assembly ("memory-safe") {
            function fail(selector) {
                mstore(0, selector)
                revert(0x1c, 4)
            }
            // Whether the G1 point at `at` in the calldata is infinity or has a coordinate that is too large.
            function g1(at) -> bad {
                let x := calldataload(at)
                let y := calldataload(add(at, 32))
                bad := or(iszero(or(x, y)), or(gt(x, Q_MAX), gt(y, Q_MAX)))
            }
            // sum += scalar · (the point at `source` in the code); sum is 64 bytes at `at`, with 96 bytes of scratch behind it.
            function accumulate(at, source, scalar) {
                let product := add(at, 64)
                codecopy(product, source, 64)
                mstore(add(at, 128), scalar)
                let ok := staticcall(gas(), 7, product, 96, product, 64)
                ok := and(ok, eq(returndatasize(), 64))
                if iszero(ok) { fail(0x09bde339) } // InvalidProof()
                ok := staticcall(gas(), 6, at, 128, at, 64)
                ok := and(ok, eq(returndatasize(), 64))
                if iszero(ok) { fail(0x09bde339) } // InvalidProof()
            }

            // Every coordinate below the modulus, no point infinity.
            {
                let bad := or(g1(body), g1(add(body, 192)))
                let x := calldataload(add(body, 64))
                let y := calldataload(add(body, 96))
                bad := or(bad, or(gt(x, Q_MAX), gt(y, Q_MAX)))
                let any := or(x, y)
                x := calldataload(add(body, 128))
                y := calldataload(add(body, 160))
                bad := or(bad, or(gt(x, Q_MAX), gt(y, Q_MAX)))
                bad := or(bad, iszero(or(any, or(x, y))))
                if bad { fail(0xb8fedf87) } // InvalidPoint()
            }

            // Four pairs of 192 bytes, then scratch space.
            let pairs := add(first, shl(5, words))
            // 14 words of α, β, γ, δ; 2 for IC_0 and each word; 2 behind them.
            let key := sub(codesize(), add(576, shl(6, words)))
            calldatacopy(pairs, body, 192) // A, B
            codecopy(add(pairs, 192), key, 192) // −α, β
            codecopy(add(pairs, 448), add(key, 192), 128) // −γ
            calldatacopy(add(pairs, 576), add(body, 192), 64) // C
            codecopy(add(pairs, 640), add(key, 320), 128) // −δ
            {
                let sum := add(pairs, 768)
                let ic := add(key, 448)
                codecopy(sum, ic, 64) // IC_0
                for { let word := first } lt(word, pairs) { word := add(word, 32) } {
                    ic := add(ic, 64)
                    accumulate(sum, ic, mload(word))
                }
                mstore(add(pairs, 384), mload(sum))
                mstore(add(pairs, 416), mload(add(sum, 32)))
            }

            mstore(0, 0)
            let ok := staticcall(gas(), 8, pairs, 768, 0, 32)
            ok := and(ok, eq(returndatasize(), 32))
            ok := and(ok, eq(mload(0), 1))
            if iszero(ok) { fail(0x09bde339) } // InvalidProof()
        }
    }
}

/// @title Groth16Deployer: turns a key into a verifier
/// @notice The code it leaves behind is Groth16Verifier followed by the key.
contract Groth16Deployer {
    /// The key was made by one party, who can forge proofs: it may be deployed on chain id 31337 only.
    error DevelopmentKey();
    /// The key does not have the length its numbers of digests and of public bytes ask for.
    error InvalidKey();

    /// @param development Whether one party made the key.
    /// @param key         The words of the key, as Groth16Verifier describes them.
    constructor(bool development, bytes memory key) {
        if (development && block.chainid != 31337) revert DevelopmentKey();
        if (key.length < 576) revert InvalidKey();
        uint256 numbers;
        assembly ("memory-safe") {
            numbers := mload(add(key, mload(key)))
        }
        (uint256 digests, uint256 publicBytes) = (numbers >> 128, uint128(numbers));
        if (digests > 24576 || publicBytes > 24576) revert InvalidKey();
        if (key.length != 576 + 64 * (1 + (publicBytes + 30) / 31 + digests)) revert InvalidKey();
        bytes memory code = bytes.concat(type(Groth16Verifier).runtimeCode, key);
        assembly ("memory-safe") {
            return(add(code, 32), mload(code))
        }
    }
}
