//! The layer before the handlers of a listener: a call joins its trace, and goes on only when the listener's rules let it in.

use std::{
    fmt::Debug,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::trace::TraceContext;
use crate::api::status;

/// The rules of a listener.
pub(crate) trait Admit: Debug + Send + Sync + 'static {
    /// Held until the answer was read, or nobody is left to read it.
    type Pass: Send + 'static;

    /// The span of a call.
    fn span(&self, request: &Request<Body>, trace: &TraceContext) -> Span;

    /// Lets a request in, with what its handler shall know, or says why not; and how long until the answer begins.
    fn admit(
        &self,
        request: &mut Request<Body>,
    ) -> impl Future<Output = Result<(Self::Pass, Option<Duration>), Status>> + Send;
}

/// The layer with the rules `A`.
#[derive(Debug)]
pub(crate) struct DoorLayer<A>(Arc<A>);

impl<A> DoorLayer<A> {
    pub(crate) fn new(rules: A) -> Self {
        Self(Arc::new(rules))
    }
}

impl<A> Clone for DoorLayer<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, S> Layer<S> for DoorLayer<A> {
    type Service = Door<A, S>;

    fn layer(&self, inner: S) -> Door<A, S> {
        Door {
            rules: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service behind its door.
#[derive(Debug)]
pub(crate) struct Door<A, S> {
    rules: Arc<A>,
    inner: S,
}

impl<A, S: Clone> Clone for Door<A, S> {
    fn clone(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            inner: self.inner.clone(),
        }
    }
}

impl<A, S> Service<Request<Body>> for Door<A, S>
where
    A: Admit,
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let rules = Arc::clone(&self.rules);
        // The one that was polled ready is used, its clone stays.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let trace = TraceContext::of(request.headers());
        let span = rules.span(&request, &trace);
        request.extensions_mut().insert(trace.clone());
        let work = async move {
            let (pass, longest) = match rules.admit(&mut request).await {
                Ok(admitted) => admitted,
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "turned away");
                    return Ok(status.into_http());
                }
            };
            let answering = inner.call(request);
            let answer = match longest {
                None => answering.await,
                Some(longest) => match tokio::time::timeout(longest, answering).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(too_slow().into_http()),
                },
            };
            answer.map(|answer| answer.map(|body| held(body, pass)))
        };
        Box::pin(trace.scope(work.instrument(span)))
    }
}

/// `body`, with `pass` as long as it lives.
fn held(body: Body, pass: impl Send + 'static) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &pass;
        frame
    }))
}

/// Lets no more than `most` bytes of a request's body through: messages are decoded before their lists are counted, to many times their
/// length.
pub(crate) fn bound(request: &mut Request<Body>, most: usize) {
    let body = std::mem::take(request.body_mut());
    let body = Limited::new(body, most).map_err(move |error| match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(_) => {
            let message = format!("the request has more than {most} bytes");
            status::refuse(Code::OutOfRange, "TOO_LARGE", &message, None)
        }
    });
    *request.body_mut() = Body::new(body);
}

fn too_slow() -> Status {
    let message = "the call took too long";
    status::refuse(Code::DeadlineExceeded, "TOO_SLOW", message, None)
}
