//! Streams of answers: who does not read is waited for a while, and told so.

use std::{hash::Hash, pin::Pin, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status};

use super::status;
use crate::{
    auth::{crowd::Place, trace::carry},
    gateway::GatewayError,
};

/// The longest time that an answer may lie unread.
const UNREAD: Duration = Duration::from_secs(60);

/// Answers, one after another.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Why there are no more answers before the last.
#[derive(Debug)]
pub(super) enum Cut {
    /// The client is gone.
    Gone,
    /// The client is told this.
    Refused(Status),
}

impl From<Status> for Cut {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl From<GatewayError> for Cut {
    fn from(error: GatewayError) -> Self {
        Self::Refused(error.into())
    }
}

/// Where answers go.
#[derive(Debug)]
pub(super) struct Sender<T> {
    to: mpsc::Sender<Result<T, Status>>,
    unread: Duration,
}

impl<T> Sender<T> {
    /// Sends an answer, once there is room for it.
    pub(super) async fn send(&self, answer: T) -> Result<(), Cut> {
        match tokio::time::timeout(self.unread, self.to.send(Ok(answer))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cut::Gone),
            Err(_) => {
                let seconds = self.unread.as_secs();
                let message = format!("nothing was read for {seconds} s");
                let code = Code::DeadlineExceeded;
                Err(status::refuse(code, "TOO_SLOW", &message, None).into())
            }
        }
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.to.closed().await;
    }
}

/// The answers that `work` sends, of which at most `room` wait to be read. `place` is held as long as that takes.
pub(super) fn answers<T, K, W>(
    room: usize,
    place: Place<K>,
    work: impl FnOnce(Sender<T>) -> W,
) -> Answers<T>
where
    T: Send + 'static,
    K: Eq + Hash + Send + 'static,
    W: Future<Output = Result<(), Cut>> + Send + 'static,
{
    within(UNREAD, room, place, work)
}

fn within<T, K, W>(
    unread: Duration,
    room: usize,
    place: Place<K>,
    work: impl FnOnce(Sender<T>) -> W,
) -> Answers<T>
where
    T: Send + 'static,
    K: Eq + Hash + Send + 'static,
    W: Future<Output = Result<(), Cut>> + Send + 'static,
{
    let (to, receiver) = mpsc::channel(room);
    // What ends the stream has room of its own.
    let (last, end) = mpsc::channel(1);
    let work = work(Sender { to, unread });
    tokio::spawn(carry(async move {
        let _place = place;
        if let Err(Cut::Refused(status)) = work.await {
            let _ = last.try_send(Err(status));
        }
    }));
    Box::pin(ReceiverStream::new(receiver).chain(ReceiverStream::new(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::crowd::Crowd;

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_the_stream_with_a_status_and_frees_its_place() {
        let crowd = Crowd::new(1);
        let place = crowd.enter(7).expect("place");
        let unread = Duration::from_millis(200);
        let mut stream = within(unread, 2, place, async |sender: Sender<u32>| {
            for n in 0..10 {
                sender.send(n).await?;
            }
            Ok(())
        });
        assert!(crowd.enter(7).is_err());
        let freed = async {
            while crowd.enter(7).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let freed = tokio::time::timeout(Duration::from_secs(10), freed);
        freed.await.expect("the place is free again");
        let mut read = Vec::new();
        while let Some(answer) = stream.next().await {
            read.push(answer.map_err(|status| status.code()));
        }
        assert_eq!(read, [Ok(0), Ok(1), Err(Code::DeadlineExceeded)]);
    }

    #[tokio::test]
    async fn a_reader_gets_every_answer_and_then_the_end() {
        let place = Crowd::new(1).enter(7).expect("place");
        let stream = answers(1, place, async |sender: Sender<u32>| {
            for n in 0..100 {
                sender.send(n).await?;
            }
            Ok(())
        });
        let read: Vec<_> = stream.map(|a| a.ok()).collect().await;
        assert_eq!(read, (0..100).map(Some).collect::<Vec<_>>());
    }
}
