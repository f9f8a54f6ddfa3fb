//! The few facts about a message that librdkafka tells and rust-rdkafka 0.39 does not hand on.
//!
//! Why `unsafe` here and nowhere else: `rd_kafka_message_status` alone tells "certainly not written" from "nobody knows" (the error code
//! maps to both), and it exists only while the message is borrowed, inside the delivery callback.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::errors::Status;

/// What librdkafka knows of the message's fate. It never goes back from "possibly persisted", whatever later attempts answer.
pub(crate) fn status(message: &BorrowedMessage<'_>) -> Status {
    // SAFETY: the pointer is valid for as long as `message` is borrowed, and the call only reads from it.
    match unsafe { bindings::rd_kafka_message_status(message.ptr()) } {
        bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Status::NotPersisted,
        bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Status::PossiblyPersisted,
        bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Status::Persisted,
    }
}

/// The broker that answered, or `None` if none did.
pub(crate) fn broker_id(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: as above.
    let id = unsafe { bindings::rd_kafka_message_broker_id(message.ptr()) };
    (id >= 0).then_some(id)
}

/// The epoch of the leader that appended a consumed record (from its batch header), or `None` for a broker too old to say.
pub(crate) fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: as above.
    let epoch = unsafe { bindings::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

/// Tells a client again where the brokers are; those that it knows are not added twice.
///
/// librdkafka 2.12 may forget all brokers, its bootstrap servers too, when all of them were down and the first that is back answers a
/// metadata request before it knows of any (librdkafka 5301). It then asks nobody any more, for good.
pub(crate) fn tell_brokers_again<C: ClientContext>(client: &Client<C>, bootstrap: &str) {
    let Ok(list) = CString::new(bootstrap) else { return };
    // SAFETY: the client lives as long as the borrow, and the call copies the text.
    unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), list.as_ptr()) };
}

/// Waits until every message has its report and its report was taken; `false` after the timeout. Nothing lingers meanwhile.
///
/// Why not rust-rdkafka's own `flush`: it polls for 100 ms at a time, and whoever takes the reports on another thread makes it wait all of it.
pub(crate) fn flush<C: ClientContext>(client: &Client<C>, timeout: Duration) -> bool {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as the borrow.
    let answer = unsafe { bindings::rd_kafka_flush(client.native_ptr(), timeout_ms) };
    answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Ends a member of a group as a crash does: connections are closed, the coordinator is not told, and nothing more is committed.
///
/// rust-rdkafka's own end leaves the group and commits what is stored. What it would free afterwards, an empty queue of some hundred
/// bytes, is left. No message of the consumer may be held any more: the borrow checker sees to that, since the consumer is moved.
pub(crate) fn crash<C: ConsumerContext>(consumer: BaseConsumer<C>) {
    let consumer = ManuallyDrop::new(consumer);
    // SAFETY: the client is alive, nobody else holds it, and it is not touched after this: what would destroy it again is never dropped. The
    // context outlives it, being dropped below.
    unsafe { bindings::rd_kafka_destroy_flags(consumer.client().native_ptr(), bindings::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) };
    // SAFETY: `ManuallyDrop` never drops this `Arc`, so that it is dropped once, here.
    drop(unsafe { std::ptr::read(consumer.client().context()) });
}

/// Commits without waiting; what becomes of it is told to the context's `commit_callback` when the consumer is polled.
///
/// rust-rdkafka 0.39's own asynchronous commit asks for no answer, and gets none: its callback hears of the timer's commits alone.
pub(crate) fn commit_async<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    // SAFETY: client and list are alive, and the list is copied. The queue is the consumer's own, which `poll` serves; the reference to it is
    // given back, and the request holds one of its own.
    let error = unsafe {
        let queue = bindings::rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(RDKafkaErrorCode::UnknownGroup);
        }
        let error = bindings::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        bindings::rd_kafka_queue_destroy(queue);
        error
    };
    if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(error.into()) }
}

/// A member's standing in its group, for the coordinator of a transaction; `None` if it is in no generation of it.
///
/// Why it is asked for: a coordinator fences by generation only if it is told one, and rust-rdkafka does not show what it would tell.
pub(crate) fn standing<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<ConsumerGroupMetadata> {
    let before = generation(consumer)?;
    let standing = consumer.group_metadata()?;
    (generation(consumer) == Some(before)).then_some(standing)
}

fn generation<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<i32> {
    // SAFETY: the client lives as long as the borrow; what it gives is ours, and is given back once.
    let generation = unsafe {
        let metadata = bindings::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let generation = bindings::rd_kafka_consumer_group_metadata_generation_id(metadata);
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    };
    (generation >= 0).then_some(generation)
}

/// The code of an error; one without is unknown, which the tables call nobody's knowledge.
pub(crate) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// The code of this number; one that librdkafka does not know is unknown.
pub(crate) fn code_of(number: i32) -> RDKafkaErrorCode {
    RDKafkaRespErr::try_from(number).map_or(RDKafkaErrorCode::Unknown, Into::into)
}

/// librdkafka's own name of a code: `_MSG_TIMED_OUT`, `NOT_LEADER_FOR_PARTITION`.
pub(crate) fn code_name(code: RDKafkaErrorCode) -> String {
    let Ok(native) = RDKafkaRespErr::try_from(code as i32) else { return format!("ERROR_{}", code as i32) };
    // SAFETY: the function answers any code with a static, NUL-terminated string.
    let name = unsafe { std::ffi::CStr::from_ptr(bindings::rd_kafka_err2name(native)) };
    name.to_string_lossy().into_owned()
}
