//! Protobuf bytes as a tree of fields, as far as an ONNX file needs it: what a mutation changes keeps its place in the schema.

/// A field of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub number: u64,
    pub value: Value,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Kind, Vec<Field>),
}

/// Messages of an ONNX file whose fields are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

/// The message that a length-delimited field of `kind` holds.
fn inner(kind: Kind, number: u64) -> Option<Kind> {
    Some(match (kind, number) {
        (Kind::Model, 7) | (Kind::Attribute, 6) => Kind::Graph,
        (Kind::Graph, 1) => Kind::Node,
        (Kind::Graph, 5) | (Kind::Attribute, 5) => Kind::Tensor,
        (Kind::Graph, 11..=13) => Kind::ValueInfo,
        (Kind::Node, 5) => Kind::Attribute,
        (Kind::ValueInfo, 2) => Kind::Type,
        (Kind::Type, 1) => Kind::TensorType,
        (Kind::TensorType, 2) => Kind::Shape,
        (Kind::Shape, 1) => Kind::Dimension,
        _ => return None,
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

/// Reads a message of `kind`.
pub fn parse(kind: Kind, mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
            5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            2 => {
                let n = usize::try_from(varint(&mut bytes)?).ok()?;
                let body = take(&mut bytes, n)?;
                match inner(kind, key >> 3) {
                    Some(kind) => Value::Message(kind, parse(kind, body)?),
                    None => Value::Bytes(body.to_vec()),
                }
            }
            _ => return None,
        };
        fields.push(Field {
            number: key >> 3,
            value,
        });
    }
    Some(fields)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a message.
pub fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = vec![];
    for field in fields {
        let (wire_type, body) = match &field.value {
            Value::Varint(value) => {
                put_varint(&mut out, field.number << 3);
                put_varint(&mut out, *value);
                continue;
            }
            Value::Fixed64(body) => (1, body.to_vec()),
            Value::Fixed32(body) => (5, body.to_vec()),
            Value::Bytes(body) => (2, body.clone()),
            Value::Message(_, fields) => (2, write(fields)),
        };
        put_varint(&mut out, field.number << 3 | wire_type);
        if wire_type == 2 {
            put_varint(&mut out, body.len() as u64);
        }
        out.extend(body);
    }
    out
}

/// Calls `visit` with every list of fields and its kind, outermost first.
pub fn each_list(
    kind: Kind,
    fields: &mut Vec<Field>,
    visit: &mut dyn FnMut(Kind, &mut Vec<Field>),
) {
    visit(kind, fields);
    for field in fields {
        if let Value::Message(kind, fields) = &mut field.value {
            each_list(*kind, fields, visit);
        }
    }
}
