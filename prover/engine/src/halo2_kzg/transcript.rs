//! # The transcript of halo2-kzg for the library
//! The library's transcript traits over [`zkinfer_verifier::halo2_kzg::transcript`], whose page specifies every byte. Proof bytes are what
//! the library writes: points x ‖ y, scalars, all 32-byte big-endian words. The identity is refused, by writer and reader.

use std::fmt;
use std::io::{self, Read};

use ark_ff::PrimeField as _;
use halo2_proofs::transcript::{EncodedChallenge, Transcript, TranscriptRead, TranscriptWrite};
use halo2curves::CurveAffine;
use halo2curves::bn256::{Fq, Fr, G1Affine};
use halo2curves::ff::PrimeField;
use zkinfer_verifier::halo2_kzg::transcript::Transcript as Hash;

/// A challenge of the transcript.
#[derive(Clone, Copy, Debug)]
pub struct Challenge(Fr);

impl EncodedChallenge<G1Affine> for Challenge {
    type Input = Fr;

    fn new(input: &Fr) -> Self {
        Self(*input)
    }

    fn get_scalar(&self) -> Fr {
        self.0
    }
}

/// The transcript of one proof: a writer over `Vec<u8>`, a reader over any source of bytes.
#[derive(Clone)]
pub struct EvmTranscript<S> {
    hash: Hash,
    stream: S,
}

impl<S> fmt::Debug for EvmTranscript<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmTranscript")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl<S> EvmTranscript<S> {
    /// A transcript of a proof under the key with this digest ([`zkinfer_verifier::VerifyingKey::digest`]).
    pub fn new(vk_digest: &[u8; 32], stream: S) -> Self {
        Self {
            hash: Hash::new(vk_digest),
            stream,
        }
    }

    /// The stream: of a writer, the proof.
    pub fn into_stream(self) -> S {
        self.stream
    }
}

impl<S> Transcript<G1Affine, Challenge> for EvmTranscript<S> {
    fn squeeze_challenge(&mut self) -> Challenge {
        Challenge(from_verifier(self.hash.squeeze()))
    }

    fn common_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.hash.absorb(&point_bytes(&point)?);
        Ok(())
    }

    fn common_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.hash.absorb(&scalar_bytes(&scalar));
        Ok(())
    }
}

impl TranscriptWrite<G1Affine, Challenge> for EvmTranscript<Vec<u8>> {
    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.common_point(point)?;
        self.stream.extend_from_slice(&point_bytes(&point)?);
        Ok(())
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.common_scalar(scalar)?;
        self.stream.extend_from_slice(&scalar_bytes(&scalar));
        Ok(())
    }
}

impl<R: Read> TranscriptRead<G1Affine, Challenge> for EvmTranscript<R> {
    fn read_point(&mut self) -> io::Result<G1Affine> {
        let mut coordinate = || -> io::Result<Fq> {
            let mut bytes = [0; 32];
            self.stream.read_exact(&mut bytes)?;
            bytes.reverse();
            Option::from(Fq::from_repr(bytes))
                .ok_or_else(|| malformed("a coordinate is not below q"))
        };
        let (x, y) = (coordinate()?, coordinate()?);
        let point: Option<G1Affine> = G1Affine::from_xy(x, y).into();
        let point = point.ok_or_else(|| malformed("a point is not on the curve"))?;
        self.common_point(point)?;
        Ok(point)
    }

    fn read_scalar(&mut self) -> io::Result<Fr> {
        let mut bytes = [0; 32];
        self.stream.read_exact(&mut bytes)?;
        bytes.reverse();
        let scalar: Option<Fr> = Fr::from_repr(bytes).into();
        let scalar = scalar.ok_or_else(|| malformed("a scalar is not below r"))?;
        self.common_scalar(scalar)?;
        Ok(scalar)
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The 32 big-endian bytes of a scalar.
pub fn scalar_bytes(scalar: &Fr) -> [u8; 32] {
    let mut bytes = scalar.to_repr();
    bytes.reverse();
    bytes
}

/// x ‖ y of a finite point.
///
/// # Errors
/// The point is the identity.
pub fn point_bytes(point: &G1Affine) -> io::Result<[u8; 64]> {
    // The library writes the identity as (0, 0), which is not on the curve.
    if (point.x, point.y) == (Fq::zero(), Fq::zero()) {
        return Err(malformed("the identity has no encoding"));
    }
    let (mut x, mut y) = (point.x.to_repr(), point.y.to_repr());
    x.reverse();
    y.reverse();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&x);
    bytes[32..].copy_from_slice(&y);
    Ok(bytes)
}

/// A scalar of the verifier as the library's.
pub fn from_verifier(scalar: zkinfer_verifier::Fr) -> Fr {
    Fr::from_raw(scalar.into_bigint().0)
}
