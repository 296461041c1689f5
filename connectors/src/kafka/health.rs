//! Whether the topic that is being read is still there, and still the same.
//!
//! librdkafka reconnects by itself and says nothing for as long as it does; an idle topic is silent too. So the
//! reader asks for the topic's description every [`PROBE_INTERVAL`], without waiting for the answer: an answer
//! shows that the broker is there and that the topic's id has not changed; none for [`UNAVAILABLE_AFTER`] is
//! reported, so that the job shows it.

use std::time::{Duration, Instant};

use millstream_runtime::{Error, Result};

use super::native::{DescribeTopic, TopicDescription};
use super::positions;
use super::topic::Topic;

/// Time between two questions: also how long a topic that was made anew can go unnoticed.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Time without an answer after which the reader reports that the broker is away: with what the last question
/// takes to fail, it is reported within 15 seconds.
pub(super) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(10);

/// Time between two questions while there is no answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the topic.
pub(super) struct Health {
    incarnation: String,
    request: Option<(DescribeTopic, Instant)>,
    next_at: Instant,
    failing_since: Option<Instant>,
}

impl Health {
    /// A topic that was just seen with this id.
    pub(super) fn new(incarnation: String, now: Instant) -> Self {
        Self { incarnation, request: None, next_at: now + PROBE_INTERVAL, failing_since: None }
    }

    /// Something looked wrong: asks at once.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.next_at = self.next_at.min(now);
    }

    /// What is wrong with reading on from this topic; `None` when it is the same as before.
    pub(super) fn check_incarnation(&self, name: &str, description: &TopicDescription) -> Option<Error> {
        positions::check_incarnation(name, &self.incarnation, &description.id)
    }

    /// Asks when it is time and takes the answer when there is one; never waits.
    pub(super) fn check(&mut self, topic: &Topic, name: &str, now: Instant) -> Result<()> {
        let Some((request, sent_at)) = &self.request else {
            if now >= self.next_at {
                self.request = Some((topic.start_describe(), now));
            }
            return Ok(());
        };
        let Some(answer) = request.poll(Duration::ZERO) else { return Ok(()) };
        let sent_at = *sent_at;
        self.request = None;
        match answer {
            Ok(description) => {
                self.failing_since = None;
                self.next_at = now + PROBE_INTERVAL;
                self.check_incarnation(name, &description).map_or(Ok(()), Err)
            }
            Err(failure) => {
                let since = *self.failing_since.get_or_insert(sent_at);
                self.next_at = now + RETRY_INTERVAL;
                if now.duration_since(since) < UNAVAILABLE_AFTER {
                    return Ok(());
                }
                let error = topic.error(failure.code, &failure.text);
                Err(Error::unavailable(error.message)
                    .with_hint("Reading goes on from the same offsets when it is back."))
            }
        }
    }
}
