//! The program: what a model asks of every proof system. Canonical bytes, digest, hostile-safe decoding.

use super::{BuildError, Builder, Instr, Step, Table, TableFunction, TensorId, batch};
use crate::tensor::Interval;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use zkinfer_verifier::{Dtype, Role, StatementLayout, TensorSpec, Visibility};

/// What is known about a tensor's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorState {
    /// Proved interval of every element.
    Proved(Arc<[Interval]>),
    /// Expected interval of every element (quotient of a split).
    Expected(Arc<[Interval]>),
    /// Hinted, of this length.
    Hinted(usize),
}

/// One tensor of wires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDecl {
    /// What is known about it.
    pub state: TensorState,
}

impl TensorDecl {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.state {
            TensorState::Proved(i) | TensorState::Expected(i) => i.len(),
            TensorState::Hinted(len) => *len,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A finished, checked program. The only way to one is [`Builder`], also when it comes from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(super) nodes: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) tensors: Vec<TensorDecl>,
    pub(super) tables: Vec<Table>,
    pub(super) inputs: Vec<TensorId>,
    pub(super) outputs: Vec<TensorId>,
    pub(super) layout: StatementLayout,
    /// How many copies of one program it is: see [`Program::batched`].
    pub(super) batch: u32,
}

/// Why bytes are not a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The bytes do not start as a program of this format does.
    #[error("not a zkinfer program of a format up to {FORMAT}: bad header")]
    Header,
    /// The bytes are more than a program may have.
    #[error("program has {got} bytes, at most {max} are read")]
    TooLarge {
        /// Length given.
        got: usize,
        /// Limit.
        max: usize,
    },
    /// The body does not decode.
    #[error("program body: {0}")]
    Decode(#[from] postcard::Error),
    /// The bytes are not the canonical encoding of what they decode to.
    #[error("program is not in canonical form")]
    NotCanonical,
    /// The decoded steps break a rule.
    #[error("program: {0}")]
    Build(#[from] BuildError),
}

const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"zkiprog\x01";
/// A batch: its size in four bytes, big-endian, and the body of the program that is repeated.
const BATCH_MAGIC: &[u8; 8] = b"zkiprog\x02";
const MAX_BYTES: usize = 1 << 30;

/// One input or output as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Io {
    name: String,
    role: u8,
    visibility: u8,
    shape: Vec<u32>,
    dtype: u8,
    scale_bits: u64,
    zero_point: i64,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    nodes: Vec<String>,
    functions: Vec<TableFunction>,
    inputs: Vec<Io>,
    outputs: Vec<(TensorId, Io)>,
    steps: Vec<(u32, Instr)>,
}

const DTYPES: [Dtype; 5] = [
    Dtype::Bool,
    Dtype::Int8,
    Dtype::Uint8,
    Dtype::Int16,
    Dtype::Int32,
];

impl Io {
    fn new(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            role: u8::from(spec.role == Role::Output),
            visibility: match spec.visibility {
                Visibility::Public => 0,
                Visibility::Private => 1,
                Visibility::Hashed => 2,
            },
            shape: spec.shape.clone(),
            // every Dtype is in the list
            dtype: DTYPES
                .iter()
                .position(|d| *d == spec.dtype)
                .unwrap_or(DTYPES.len()) as u8,
            scale_bits: spec.scale.to_bits(),
            zero_point: spec.zero_point,
        }
    }

    fn spec(&self) -> Result<TensorSpec, ProgramError> {
        let dtype = DTYPES.get(usize::from(self.dtype)).copied();
        let dtype = dtype.ok_or(BuildError::Interface {
            reason: "unknown element type",
        })?;
        Ok(TensorSpec {
            name: self.name.clone(),
            role: if self.role == 1 {
                Role::Output
            } else {
                Role::Input
            },
            // what is none of these is not what it is written as again
            visibility: match self.visibility {
                1 => Visibility::Private,
                2 => Visibility::Hashed,
                _ => Visibility::Public,
            },
            shape: self.shape.clone(),
            dtype,
            scale: f64::from_bits(self.scale_bits),
            zero_point: self.zero_point,
        })
    }
}

impl Program {
    /// The same program with another instruction in one place, for tests that damage coefficients. Nothing is proved about it.
    #[doc(hidden)]
    pub fn with_instr(&self, step: usize, instr: Instr) -> Self {
        let mut damaged = self.clone();
        damaged.steps[step].instr = instr;
        damaged
    }

    /// Names of the ONNX nodes that steps refer to.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// The instructions in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The tensors, indexed by [`TensorId`].
    pub fn tensors(&self) -> &[TensorDecl] {
        &self.tensors
    }

    /// The tables, indexed by [`super::TableId`].
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Input tensors in declared order.
    pub fn inputs(&self) -> &[TensorId] {
        &self.inputs
    }

    /// Output tensors in declared order.
    pub fn outputs(&self) -> &[TensorId] {
        &self.outputs
    }

    /// Inputs, then outputs, as the statement sees them.
    pub fn layout(&self) -> &StatementLayout {
        &self.layout
    }

    /// Name of the node that `step` serves.
    pub fn node_of(&self, step: &Step) -> &str {
        self.nodes
            .get(step.node as usize)
            .map_or("", String::as_str)
    }

    /// Canonical bytes: equal programs have equal bytes on every machine. Those of a batch are as many as those of one copy.
    pub fn encode(&self) -> Vec<u8> {
        let (inputs, outputs) = self.layout.tensors.split_at(self.inputs.len());
        let copies = self.batch as usize;
        let io = |spec: &TensorSpec| {
            let name = match self.batch {
                1 => &spec.name,
                _ => batch::name_of_first(&spec.name),
            };
            Io {
                name: name.to_owned(),
                ..Io::new(spec)
            }
        };
        let first_outputs = self.outputs.iter().copied().zip(outputs.iter().map(io));
        let first_steps = self.steps.iter().take(self.steps.len() / copies);
        let body = Encoded {
            nodes: self.nodes.clone(),
            functions: self.tables.iter().map(|t| t.function.clone()).collect(),
            inputs: inputs.iter().take(inputs.len() / copies).map(io).collect(),
            outputs: first_outputs.take(outputs.len() / copies).collect(),
            steps: first_steps.map(|s| (s.node, s.instr.clone())).collect(),
        };
        let mut bytes = match self.batch {
            1 => MAGIC.to_vec(),
            n => [BATCH_MAGIC.as_slice(), &n.to_be_bytes()].concat(),
        };
        // writing to a Vec fails only for types postcard cannot express; `Encoded` is plain data
        bytes.extend(postcard::to_stdvec(&body).expect("plain data always encodes"));
        bytes
    }

    /// Reads [`Program::encode`]'s bytes, proving every interval again.
    ///
    /// # Errors
    /// When the bytes are too long, not canonical, or break a rule of the builder. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProgramError> {
        if bytes.len() > MAX_BYTES {
            return Err(ProgramError::TooLarge {
                got: bytes.len(),
                max: MAX_BYTES,
            });
        }
        if let Some(rest) = bytes.strip_prefix(BATCH_MAGIC.as_slice()) {
            let (n, body) = rest.split_first_chunk().ok_or(ProgramError::Header)?;
            let n = u32::from_be_bytes(*n);
            // a batch of one is written as the program itself
            if n == 1 {
                return Err(ProgramError::NotCanonical);
            }
            // its bytes are the canonical ones of the copy, which are checked there
            let copy = Self::decode(&[MAGIC.as_slice(), body].concat())?;
            return Ok(copy.batched(n)?);
        }
        let body = bytes
            .strip_prefix(MAGIC.as_slice())
            .ok_or(ProgramError::Header)?;
        let body: Encoded = postcard::from_bytes(body)?;
        let specs: Result<Vec<_>, _> = body.inputs.iter().map(Io::spec).collect();
        let specs = specs?;
        let mut builder = Builder::new();
        for (node, instr) in body.steps {
            let missing = BuildError::Interface {
                reason: "a step names no node",
            };
            while builder.n_nodes() <= node as usize {
                match body.nodes.get(builder.n_nodes()) {
                    Some(name) => builder.node(name),
                    None => return Err(missing.into()),
                }
            }
            builder.replay(instr, &body.functions, &specs)?;
        }
        // nodes that needed no instruction keep their names
        let n_nodes = builder.n_nodes();
        body.nodes
            .iter()
            .skip(n_nodes)
            .for_each(|name| builder.node(name));
        for (id, io) in &body.outputs {
            let x = builder.bound(*id).ok_or(BuildError::Interface {
                reason: "unbound output",
            })?;
            builder.output(&x, io.spec()?)?;
        }
        let program = builder.finish()?;
        if program.encode() != bytes {
            return Err(ProgramError::NotCanonical);
        }
        Ok(program)
    }

    /// SHA-256 of a domain tag and the canonical bytes.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"zkinfer program v1");
        hash.update(self.encode());
        hash.finalize().into()
    }
}
