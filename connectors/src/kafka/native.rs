//! The calls of librdkafka that the `rdkafka` crate does not wrap, and the only unsafe code of this folder.
//!
//! Two things need them: taking messages in batches from one queue for all partitions (a third of the CPU of
//! polling them one by one), and asking for a topic's id, by which a topic that was deleted and made again
//! under the same name is told from the one before.
//!
//! What is true here: every pointer is owned by exactly one value, which destroys it; each of those values
//! also holds the client, so that no pointer outlives the client that it came from.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::os::raw::c_int;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::client::KafkaConsumer;

/// Messages taken from the queue at once: as many rows as a batch of the runtime has.
pub(super) const TAKE_MESSAGES: usize = 8192;

/// One queue into which librdkafka puts the messages of all partitions that were forwarded to it.
///
/// Whenever the queue was empty and no longer is, the given thread is unparked.
pub(super) struct MessageQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Room for the pointers that one call hands out; all null between calls of [`Self::take`].
    taken: Vec<*mut sys::rd_kafka_message_t>,
    /// What the callback's opaque pointer points to. A box, so that it stays where it is.
    _wake: Box<Thread>,
    consumer: Arc<KafkaConsumer>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `taken` holds no pointer between calls.
unsafe impl Send for MessageQueue {}

/// Runs on a thread of librdkafka with the queue locked: it must not call back into librdkafka.
unsafe extern "C" fn unpark(_client: *mut sys::rd_kafka_t, thread: *mut c_void) {
    // SAFETY: the pointer is that of `MessageQueue::_wake`, and the callback is taken off before that drops.
    let thread = unsafe { &*thread.cast::<Thread>() };
    thread.unpark();
}

impl MessageQueue {
    /// Makes an empty queue of this consumer that unparks `thread`.
    pub(super) fn new(consumer: Arc<KafkaConsumer>, thread: Thread) -> Self {
        let wake = Box::new(thread);
        // SAFETY: the client pointer is valid for as long as `consumer` is held; `rd_kafka_queue_new` never
        // returns null; `wake` outlives the callback (see `drop`).
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_new(consumer.client().native_ptr());
            let opaque = ptr::from_ref::<Thread>(&wake).cast_mut().cast::<c_void>();
            sys::rd_kafka_queue_cb_event_enable(queue, Some(unpark), opaque);
            NonNull::new(queue).expect("rd_kafka_queue_new aborts rather than return null")
        };
        Self { queue, taken: Vec::with_capacity(TAKE_MESSAGES), _wake: wake, consumer }
    }

    /// Sends the messages of a partition here. To be called before the partition is assigned: what was
    /// fetched earlier would stay in the consumer's own queue. False when the partition can't be had.
    #[must_use]
    pub(super) fn forward(&self, topic: &CStr, partition: i32) -> bool {
        // SAFETY: all three pointers are valid; librdkafka takes its own references to both queues, so that
        // the handle of the partition's queue can be given back at once.
        unsafe {
            let source =
                sys::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), topic.as_ptr(), partition);
            if source.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(source, self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(source);
        }
        true
    }

    /// Takes what is there, at most [`TAKE_MESSAGES`], without waiting.
    pub(super) fn take(&mut self) -> Messages<'_> {
        debug_assert!(self.taken.is_empty(), "the guard of the last call emptied it");
        // SAFETY: the vector has room for `TAKE_MESSAGES` pointers, of which the call sets the first `count`.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                0,
                self.taken.as_mut_ptr(),
                self.taken.capacity().min(TAKE_MESSAGES),
            );
            self.taken.set_len(usize::try_from(count).unwrap_or(0));
        }
        Messages { taken: &mut self.taken }
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours. Taking the callback off takes the queue's lock, so that no call of it is
        // under way when `_wake` is dropped after this.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Messages that were taken from a queue; given back to librdkafka when dropped.
pub(super) struct Messages<'queue> {
    taken: &'queue mut Vec<*mut sys::rd_kafka_message_t>,
}

impl Messages<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// One of them.
    pub(super) fn get(&self, index: usize) -> Message<'_> {
        // SAFETY: librdkafka set the first `len` pointers, and they live until this guard drops them.
        Message { raw: unsafe { &*self.taken[index] } }
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: the pointer came from librdkafka and is destroyed once.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

/// A record, or an event of a partition, as [`Self::error`] tells.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    raw: &'a sys::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    /// The partition that it comes from; -1 for an error that belongs to none.
    pub(super) fn partition(self) -> i32 {
        self.raw.partition
    }

    /// The offset of the record, or the one at which the event happened.
    pub(super) fn offset(self) -> i64 {
        self.raw.offset
    }

    /// `None` for a record; otherwise what happened and how librdkafka words it.
    pub(super) fn error(self) -> Option<(RDKafkaErrorCode, String)> {
        if self.raw.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: valid for a message with an error; null or a string that lives as long as the message.
        let text = unsafe { text(sys::rd_kafka_message_errstr(self.raw)) };
        Some((self.raw.err.into(), text))
    }

    /// The value; `None` for a tombstone.
    pub(super) fn payload(self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives a pointer to `len` bytes that live as long as the message, or null.
        unsafe { bytes(self.raw.payload, self.raw.len) }
    }

    /// The key.
    pub(super) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: as for the payload.
        unsafe { bytes(self.raw.key, self.raw.key_len) }
    }

    /// The record's time in milliseconds since 1970.
    pub(super) fn timestamp_millis(self) -> Option<i64> {
        // SAFETY: the message is valid; the kind of the timestamp may be left out.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.raw, ptr::null_mut()) };
        (millis >= 0).then_some(millis)
    }

    /// The headers in their order; a value may be null.
    pub(super) fn headers(self) -> Vec<(&'a str, Option<&'a [u8]>)> {
        let mut headers = Vec::new();
        // SAFETY: the headers belong to the message and live as long; names are zero-terminated; each out
        // pointer is set when the call reports success.
        unsafe {
            let mut all = ptr::null_mut();
            if sys::rd_kafka_message_headers(self.raw, &raw mut all)
                != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return headers;
            }
            for index in 0..sys::rd_kafka_header_cnt(all) {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                if sys::rd_kafka_header_get_all(all, index, &raw mut name, &raw mut value, &raw mut size)
                    != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
                {
                    break;
                }
                let name = CStr::from_ptr(name).to_str().unwrap_or("");
                headers.push((name, bytes(value, size)));
            }
        }
        headers
    }
}

/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// # Safety
/// `start` is null or a zero-terminated string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

/// What a broker says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicDescription {
    /// The topic's id; empty when the broker does not know ids (before Kafka 2.8).
    pub(super) id: String,
    /// The numbers of its partitions, rising.
    pub(super) partitions: Vec<i32>,
}

/// Why a topic could not be described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DescribeFailure {
    /// librdkafka's or the broker's code.
    pub(super) code: RDKafkaErrorCode,
    /// How it is worded.
    pub(super) text: String,
}

/// A request for a topic's description that is under way.
pub(super) struct DescribeTopic {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _consumer: Arc<KafkaConsumer>,
    /// Not shared: `poll` takes the answer out.
    _not_sync: PhantomData<*mut ()>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for DescribeTopic {}

impl DescribeTopic {
    /// Sends the request. It ends with an answer or a failure within `timeout`.
    pub(super) fn send(consumer: Arc<KafkaConsumer>, topic: &CString, timeout: Duration) -> Self {
        let timeout_millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive; options, collection and queue are made here and, but for the queue,
        // destroyed here: librdkafka copies what it needs. A failure to set the timeout leaves the default.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_new(client);
            let options =
                sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_millis, ptr::null_mut(), 0);
            let mut names = [topic.as_ptr()];
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            sys::rd_kafka_DescribeTopics(client, topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
            sys::rd_kafka_AdminOptions_destroy(options);
            NonNull::new(queue).expect("rd_kafka_queue_new aborts rather than return null")
        };
        Self { queue, _consumer: consumer, _not_sync: PhantomData }
    }

    /// The answer if it comes within `wait`; once it was given, there is none.
    pub(super) fn poll(&self, wait: Duration) -> Option<Result<TopicDescription, DescribeFailure>> {
        let wait_millis = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive; the event, when there is one, is ours and destroyed once, after the
        // last use of what it holds.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_millis);
            if event.is_null() {
                return None;
            }
            let answer = read_description(event);
            sys::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

impl Drop for DescribeTopic {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; a late answer goes to the queue's remains and is destroyed with them.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// # Safety
/// `event` is a valid event.
unsafe fn read_description(event: *mut sys::rd_kafka_event_t) -> Result<TopicDescription, DescribeFailure> {
    use sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR_NO_ERROR};
    // SAFETY: the event is valid, and everything read here belongs to it; counts bound the arrays.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(DescribeFailure { code: code.into(), text: text(sys::rd_kafka_event_error_string(event)) });
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = if result.is_null() {
            ptr::null_mut()
        } else {
            sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count)
        };
        if topics.is_null() || count != 1 {
            let text = format!("{count} topics described, asked for one");
            return Err(DescribeFailure { code: RD_KAFKA_RESP_ERR__BAD_MSG.into(), text });
        }
        let topic = *topics;
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && sys::rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_NO_ERROR {
            let code = sys::rd_kafka_error_code(error).into();
            return Err(DescribeFailure { code, text: text(sys::rd_kafka_error_string(error)) });
        }
        let uuid = sys::rd_kafka_TopicDescription_topic_id(topic);
        let unknown = uuid.is_null()
            || (sys::rd_kafka_Uuid_most_significant_bits(uuid) == 0
                && sys::rd_kafka_Uuid_least_significant_bits(uuid) == 0);
        let id = if unknown { String::new() } else { text(sys::rd_kafka_Uuid_base64str(uuid)) };
        let mut count = 0;
        let infos = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let mut partitions: Vec<i32> =
            (0..count).map(|index| sys::rd_kafka_TopicPartitionInfo_partition(*infos.add(index))).collect();
        partitions.sort_unstable();
        Ok(TopicDescription { id, partitions })
    }
}
