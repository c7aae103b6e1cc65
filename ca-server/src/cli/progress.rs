//! What happens while a command runs, on standard error: a bar on a terminal, plain lines elsewhere, JSON lines with `--json`.

use std::{io, io::IsTerminal as _, io::Write as _};

use ca_api::admin::{AdminEvent, DeliveryOutcome, MachineDelivery};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    output::add_iso,
    render::delivery::{progress, timing},
    text::line,
};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A bar that fills; lines only for what needs a look.
    Bar,
    /// A line for each machine.
    Lines,
    /// A JSON object a line.
    Json,
    /// Not at all.
    Silent,
}

impl Manner {
    /// What suits: `--quiet` wins, then `--json`, then whether standard error is a terminal.
    #[must_use]
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (quiet, json) {
            (true, _) => Self::Silent,
            (_, true) => Self::Json,
            _ if io::stderr().is_terminal() => Self::Bar,
            _ => Self::Lines,
        }
    }
}

/// Follows one command.
#[derive(Debug)]
pub struct Progress {
    manner: Manner,
    bar: Option<ProgressBar>,
    millis_each: Vec<u64>,
}

impl Progress {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            bar: None,
            millis_each: Vec::new(),
        }
    }

    /// Shows what happened.
    pub fn event(&mut self, event: &AdminEvent) {
        if let AdminEvent::Machine { state, .. } = event
            && matches!(state.outcome, DeliveryOutcome::Proven { .. })
        {
            self.millis_each.push(state.millis);
        }
        match self.manner {
            Manner::Silent => {}
            Manner::Json => tell(&json_line(event)),
            Manner::Lines => {
                if let Some(text) = text_line(event) {
                    tell(&text);
                }
            }
            Manner::Bar => self.draw(event),
        }
    }

    /// Takes the bar away and says how long machines took.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if matches!(self.manner, Manner::Bar | Manner::Lines)
            && let Some(text) = timing(&self.millis_each)
        {
            tell(&text);
        }
    }

    fn draw(&mut self, event: &AdminEvent) {
        match event {
            AdminEvent::Note { text } => {
                let text = line(text);
                match &self.bar {
                    Some(bar) => bar.suspend(|| tell(&text)),
                    None => tell(&text),
                }
            }
            AdminEvent::Machine { done, total, state } => {
                let bar = self.bar.get_or_insert_with(|| new_bar(*total));
                bar.set_length(*total as u64);
                bar.set_position(*done as u64);
                bar.set_message(line(&state.machine));
                if needs_a_look(state) {
                    bar.suspend(|| tell(&progress(state)));
                }
            }
            AdminEvent::Done { .. } | AdminEvent::Failed { .. } => {}
        }
    }
}

fn new_bar(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:30} {pos}/{len} machines  {elapsed}  {msg}")
        .expect("the template is written with this crate's own words");
    ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr())
        .with_style(style)
}

/// What a person should see as it happens, also beside a bar.
fn needs_a_look(state: &MachineDelivery) -> bool {
    match &state.outcome {
        DeliveryOutcome::NotReached { .. } => true,
        DeliveryOutcome::Proven {
            sessions_ended,
            sessions_open,
            ..
        } => !sessions_ended.is_empty() || !sessions_open.is_empty(),
    }
}

/// One event as a plain line.
#[must_use]
pub fn text_line(event: &AdminEvent) -> Option<String> {
    match event {
        AdminEvent::Note { text } => Some(line(text)),
        AdminEvent::Machine { done, total, state } => {
            Some(format!("[{done}/{total}] {}", progress(state)))
        }
        AdminEvent::Done { .. } | AdminEvent::Failed { .. } => None,
    }
}

/// One event as a line of JSON.
#[must_use]
pub fn json_line(event: &AdminEvent) -> String {
    let mut value = serde_json::to_value(event).expect("an event of texts and numbers is JSON");
    add_iso(&mut value);
    value.to_string()
}

fn tell(text: &str) {
    // Progress that nobody can see is no reason to stop a revocation.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
