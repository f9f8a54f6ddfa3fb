//! Clients in processes of their own, which are told what to do and answer by lines.
//!
//! Why: the Java client cannot be linked, and a client on another host sees the cluster from there. A worker decides nothing. All that is recorded is
//! recorded here, by the run's one recorder: an invoke before the worker is told, a completion after its answer came. So what the verdict rests
//! on is one clock, whatever clocks the hosts have; the way to a worker and back can only make an op longer than it was, never shorter.
//!
//! What there is: the lines (`protocol`), a process behind three pipes, wherever it runs (`door`), a consumer that is asked (`consumer`), open
//! sends by tickets (`tickets`); for client hosts, the worker's own side (`serve`), ours (`remote`), and what is known of each host (`book`).

mod book;
mod consumer;
mod door;
pub(crate) mod protocol;
mod remote;
mod serve;
mod tickets;

pub(crate) use consumer::WorkerConsumer;
pub(crate) use door::Worker;
pub use door::{ClientHost, Pipes, WorkerEnd};
pub(crate) use remote::HostClients;
pub use serve::serve;
pub(crate) use tickets::Tickets;
