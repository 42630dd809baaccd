//! What is being done, told to the person who waits: one line a step, with a spinner where there is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::time::Instant;

const SPIN_EVERY: Duration = Duration::from_millis(80);
const SPINNER: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";

pub struct Progress {
    terminal: bool,
}

/// A step under way. Dropped before it is done, it has failed, and the error says so.
pub struct Step {
    text: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    pub fn step(&self, text: impl Into<String>) -> Step {
        let text = text.into();
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new_spinner().with_message(text.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style.tick_chars(SPINNER));
            }
            bar.enable_steady_tick(SPIN_EVERY);
            bar
        });
        Step { text, started: Instant::now(), bar }
    }
}

impl Step {
    pub fn done(self) {
        let line = format!("✓ {} ({:.1} s)", self.text, self.started.elapsed().as_secs_f32());
        match &self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
