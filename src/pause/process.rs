//! The process that keeps a Pod's namespaces: it waits for signals, reaps what is orphaned to it, and exits on TERM and INT.
//!
//! A program of its own, compiled by build.rs without any library: the kernel's calls by number, no stack to speak of, a few kB.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const SIG_BLOCK: usize = 0;
/// Bytes of the kernel's set of signals.
const SIGNAL_SET_BYTES: usize = 8;
const WNOHANG: usize = 1;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const SIGNAL_MASK: usize = 14;
    pub const SIGNAL_WAIT: usize = 128;
    pub const WAIT: usize = 61;
    pub const EXIT: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const SIGNAL_MASK: usize = 135;
    pub const SIGNAL_WAIT: usize = 137;
    pub const WAIT: usize = 260;
    pub const EXIT: usize = 94;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {run}", "ud2", run = sym run);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {run}", "brk #1", run = sym run);

extern "C" fn run() -> ! {
    let all = u64::MAX;
    let set = &raw const all as usize;
    // Blocked signals are kept for whoever waits for them, also those that an init process would never be given.
    call(number::SIGNAL_MASK, [SIG_BLOCK, set, 0, SIGNAL_SET_BYTES]);
    loop {
        match call(number::SIGNAL_WAIT, [set, 0, 0, SIGNAL_SET_BYTES]) {
            SIGINT | SIGTERM => {
                call(number::EXIT, [0; 4]);
            }
            // One signal may stand for many children.
            SIGCHLD => while call(number::WAIT, [usize::MAX, 0, WNOHANG, 0]) > 0 {},
            _ => {}
        }
    }
}

fn call(number: usize, arguments: [usize; 4]) -> isize {
    let result: isize;
    let [a, b, c, d] = arguments;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the calls above write to nothing but what they are given, which is nothing.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, lateout("rcx") _, lateout("r11") _);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the calls above write to nothing but what they are given, which is nothing.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d);
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
