//! W3C trace context: read from a request or begun with it, and known to everything that runs for the request.

use std::{collections::BTreeMap, future::Future};

use http::HeaderMap;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Longest `tracestate` that is passed on.
const MAX_STATE_BYTES: usize = 512;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// The trace that `headers` name, or a new one; in both cases with a span of our own.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let parent = text(PARENT).and_then(parse);
        let state = || {
            text(STATE)
                .filter(|s| !s.is_empty() && s.len() <= MAX_STATE_BYTES)
                .map(str::to_owned)
        };
        let span = fresh();
        match parent {
            Some((trace, flags)) => Self {
                trace,
                span,
                flags,
                state: state(),
            },
            None => Self {
                trace: fresh(),
                span,
                flags: 1,
                state: None,
            },
        }
    }

    /// The id of the trace, 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.trace)
    }

    /// The headers that continue the trace.
    pub fn headers(&self) -> BTreeMap<String, String> {
        let (trace, span) = (self.id(), hex::encode(self.span));
        let parent = format!("00-{trace}-{span}-{:02x}", self.flags);
        let mut headers = BTreeMap::from([(PARENT.to_owned(), parent)]);
        if let Some(state) = &self.state {
            headers.insert(STATE.to_owned(), state.clone());
        }
        headers
    }

    /// Runs `work` inside the trace.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The trace that the present task runs in.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

/// `work` in the trace of the present task, for a task of its own.
pub(crate) fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let trace = TraceContext::current();
    async move {
        match trace {
            Some(trace) => trace.scope(work).await,
            None => work.await,
        }
    }
}

/// A random id; never zero, which the standard forbids.
fn fresh<const N: usize>() -> [u8; N] {
    loop {
        let mut id = [0; N];
        rand::RngCore::fill_bytes(&mut rand::thread_rng(), &mut id);
        if id != [0; N] {
            return id;
        }
    }
}

/// Trace and flags of `version-trace-parent-flags`.
fn parse(text: &str) -> Option<([u8; 16], u8)> {
    let mut parts = text.split('-');
    let version = hex_bytes::<1>(parts.next()?)?[0];
    let trace = hex_bytes::<16>(parts.next()?)?;
    let parent = hex_bytes::<8>(parts.next()?)?;
    let flags = hex_bytes::<1>(parts.next()?)?[0];
    // Later versions may append fields, the first may not.
    let ends = version != 0 || parts.next().is_none();
    (version != 0xff && ends && trace != [0; 16] && parent != [0; 8]).then_some((trace, flags & 1))
}

fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(parent: &str) -> TraceContext {
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, parent.parse().expect("header"));
        headers.insert(STATE, "vendor=1".parse().expect("header"));
        TraceContext::of(&headers)
    }

    #[test]
    fn a_parent_is_continued_with_a_span_of_our_own() {
        let context = of(&format!("00-{TRACE}-00f067aa0ba902b7-01"));
        assert_eq!(context.id(), TRACE);
        let headers = context.headers();
        assert!(headers[PARENT].starts_with(&format!("00-{TRACE}-")));
        assert!(!headers[PARENT].contains("00f067aa0ba902b7"));
        assert_eq!(headers[STATE], "vendor=1");
        assert_eq!(
            of(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")).id(),
            TRACE
        );
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        let zero = "0".repeat(32);
        for parent in [
            String::new(),
            "x".repeat(4000),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
        ] {
            let context = of(&parent);
            assert_ne!(context.id(), TRACE, "{parent}");
            assert_eq!(context.headers().get(STATE), None);
        }
    }

    #[tokio::test]
    async fn work_inside_a_scope_knows_its_trace() {
        let context = of("");
        let inside = context
            .clone()
            .scope(async { TraceContext::current() })
            .await;
        assert_eq!(inside, Some(context));
        assert_eq!(TraceContext::current(), None);
    }
}
