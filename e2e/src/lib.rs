//! foz-e2e: a real Kubernetes on one Linux machine, the try-out of Foz on it, and the stories that
//! test Foz from end to end.
//!
//! - [`prerequisites`] says early and plainly what is missing, and installs what the package
//!   manager has.
//! - [`programs`] builds Kubernetes, CoreDNS, Helm and the pause image from `e2e/kubernetes/`.
//! - [`cluster`] starts and removes the cluster: nodes are network namespaces of this machine.
//! - [`images`] builds the images of the broker and the operator and gives them to every node.
//! - [`tryout`] is `make up`; [`suite`] is `make test`; [`story`] holds the stories and what they
//!   are told with.
//!
//! Invariants:
//! - Everything that outlives this program runs inside one cgroup and keeps its mounts and network
//!   interfaces in namespaces that die with it. So removing a cluster needs no bookkeeping, and a
//!   run that was killed half-way is removed like any other (see [`cluster::teardown`]).
//! - Files live below [`folders::Folders::cache`] only.
//! - Nothing waits without a limit, and a wait that ends in vain says what it waited for.
//!
//! No async runtime: the work is to start other programs and to wait for them.
//!
//! Start reading at [`cluster::up`].

pub mod build_cache;
pub mod cluster;
pub mod external;
pub mod folders;
pub mod foz;
pub mod images;
pub mod java;
pub mod kubernetes;
pub mod objects;
pub mod operator_release;
pub mod prerequisites;
pub mod programs;
pub mod progress;
pub mod story;
pub mod suite;
pub mod tryout;
pub mod wait;
