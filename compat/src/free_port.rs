//! Ports for processes that are about to start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// One that is free, below those that the kernel gives to outgoing connections, so that none of these takes it before the
/// process does; nobody else in this run gets it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let at = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + at as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
