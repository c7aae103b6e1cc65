//! The narration: one line a step, with the machine's name before it; spinners on a terminal, plain lines elsewhere.
//!
//! Everything goes to standard error, so that standard output holds the result alone. Text from machines and from the
//! server loses its control characters here (C5): there is no other way to the screen.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use ca_client::text;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// What a machine has been through; what is said of it when the person presses Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not begun, or only looked at.
    Untouched,
    /// The CA has reserved its place; the machine itself is as it was.
    Reserved,
    /// The applier may be at work; without a confirmation the machine puts everything back within these seconds.
    Applying {
        /// The timer's seconds.
        within_secs: u64,
    },
    /// Applied and confirmed; the proofs, or the CA's own first login, are missing.
    Confirmed,
    /// Done.
    Done,
    /// Ended with an error, which was told.
    Failed,
}

impl Stage {
    /// What is true of the machine now and what to do.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Untouched => "nothing was changed".to_owned(),
            Self::Reserved => "nothing was changed on it; the CA lists it as `preparing` until the command is run again".to_owned(),
            Self::Applying { within_secs } => format!(
                "a change was under way: without a confirmation the machine puts everything back by itself within {within_secs} s; then run the command again"
            ),
            Self::Confirmed => "applied, and a way in was proven; run the command again to finish the proofs".to_owned(),
            Self::Done => "done".to_owned(),
            Self::Failed => "failed, see above".to_owned(),
        }
    }
}

/// The narrator of all machines.
#[derive(Debug, Clone)]
pub struct Narrator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    screen: Screen,
    width: usize,
    stages: Mutex<BTreeMap<String, Stage>>,
}

#[derive(Debug)]
enum Screen {
    Terminal(MultiProgress),
    Plain,
    #[cfg(test)]
    Kept(Mutex<Vec<String>>),
}

impl Narrator {
    /// A narrator for these machines, on standard error.
    #[must_use]
    pub fn new<'a>(machines: impl IntoIterator<Item = &'a str>) -> Self {
        let screen = if std::io::stderr().is_terminal() {
            Screen::Terminal(MultiProgress::new())
        } else {
            Screen::Plain
        };
        Self::on(screen, machines)
    }

    fn on<'a>(screen: Screen, machines: impl IntoIterator<Item = &'a str>) -> Self {
        let stages: BTreeMap<String, Stage> = machines
            .into_iter()
            .map(|name| (name.to_owned(), Stage::Untouched))
            .collect();
        let width = stages.keys().map(String::len).max().unwrap_or(0);
        Self(Arc::new(Shared {
            screen,
            width,
            stages: Mutex::new(stages),
        }))
    }

    /// The narration of one machine.
    #[must_use]
    pub fn of(&self, machine: &str) -> Narration {
        Narration {
            narrator: self.clone(),
            machine: machine.to_owned(),
            bar: None,
        }
    }

    /// A line that belongs to no machine.
    pub fn say(&self, text: &str) {
        self.put(&text::clean(text));
    }

    /// Runs a question with the spinners out of its way.
    pub fn quiet<T>(&self, question: impl FnOnce() -> T) -> T {
        match &self.0.screen {
            Screen::Terminal(bars) => bars.suspend(question),
            _ => question(),
        }
    }

    /// What is true of every machine now.
    #[must_use]
    pub fn stages(&self) -> Vec<(String, Stage)> {
        self.lock()
            .iter()
            .map(|(name, stage)| (name.clone(), *stage))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        self.0.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &str) {
        match &self.0.screen {
            // `suspend` and not `println`: the latter is lost when no bar is drawn.
            Screen::Terminal(bars) => bars.suspend(|| anstream::eprintln!("{line}")),
            Screen::Plain => anstream::eprintln!("{line}"),
            #[cfg(test)]
            Screen::Kept(lines) => lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line.to_owned()),
        }
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// The narration of one machine.
#[derive(Debug)]
pub struct Narration {
    narrator: Narrator,
    machine: String,
    bar: Option<ProgressBar>,
}

impl Narration {
    /// What is being done now: shown beside a spinner on a terminal, and nowhere else.
    pub fn doing(&mut self, what: &str) {
        let Screen::Terminal(bars) = &self.narrator.0.screen else {
            return;
        };
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}…")
                .expect("the template is well formed");
            bar.set_style(style);
            bar.set_prefix(format!(
                "{:width$}",
                self.machine,
                width = self.narrator.0.width
            ));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text::line(what));
    }

    /// A step that was taken.
    pub fn did(&self, what: &str) {
        self.line(GOOD, "✓", what);
    }

    /// Something that the person should know.
    pub fn warn(&self, what: &str) {
        self.line(WARN, "!", what);
    }

    /// What ended it.
    pub fn failed(&self, what: &str) {
        self.line(BAD, "✗", what);
    }

    /// More about the line before.
    pub fn more(&self, what: &str) {
        self.line(Style::new(), " ", what);
    }

    /// Where the machine is now.
    pub fn stage(&self, stage: Stage) {
        self.narrator.lock().insert(self.machine.clone(), stage);
    }

    /// It ended with an error, which was told. An untouched machine is still untouched, and Ctrl-C may be what ended it.
    pub fn gave_up(&self) {
        let mut stages = self.narrator.lock();
        let stage = stages.entry(self.machine.clone()).or_insert(Stage::Failed);
        if !matches!(stage, Stage::Untouched | Stage::Reserved) {
            *stage = Stage::Failed;
        }
    }

    /// Takes the spinner away.
    pub fn rest(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The narrator of all.
    #[must_use]
    pub fn narrator(&self) -> &Narrator {
        &self.narrator
    }

    fn line(&self, style: Style, mark: &str, what: &str) {
        let width = self.narrator.0.width;
        for (at, part) in text::clean(what).lines().enumerate() {
            let mark = if at == 0 { mark } else { " " };
            let line = format!("{style}{mark}{style:#} {:width$}  {part}", self.machine);
            self.narrator.put(&line);
        }
    }
}

impl Drop for Narration {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(narrator: &Narrator) -> Vec<String> {
        match &narrator.0.screen {
            Screen::Kept(lines) => lines
                .lock()
                .unwrap()
                .iter()
                .map(|line| anstream::adapter::strip_str(line).to_string())
                .collect(),
            _ => unreachable!("the test keeps its lines"),
        }
    }

    #[test]
    fn every_line_has_its_machine_before_it_also_when_the_text_has_several() {
        let narrator = Narrator::on(Screen::Kept(Mutex::default()), ["web-1", "database-1"]);
        narrator.of("web-1").did("logged in");
        narrator.of("database-1").failed("one\ntwo");
        assert_eq!(
            kept(&narrator),
            [
                "✓ web-1       logged in",
                "✗ database-1  one",
                "  database-1  two"
            ]
        );
    }

    #[test]
    fn c5_foreign_text_cannot_move_the_cursor() {
        let narrator = Narrator::on(Screen::Kept(Mutex::default()), ["a"]);
        narrator
            .of("a")
            .warn("x\u{1b}[2Jy\rz\u{7}\u{9b}31m\u{202e}");
        narrator.say("p\u{1b}]0;owned\u{7}q");
        assert_eq!(kept(&narrator), ["! a  x[2Jyz31m", "p]0;ownedq"]);
    }

    #[test]
    fn h1_a_stage_says_what_protects_the_machine() {
        let narrator = Narrator::on(Screen::Kept(Mutex::default()), ["a", "b"]);
        narrator.of("b").stage(Stage::Applying { within_secs: 60 });
        let stages = narrator.stages();
        assert_eq!(stages[0], ("a".to_owned(), Stage::Untouched));
        assert!(
            stages[1]
                .1
                .words()
                .contains("puts everything back by itself within 60 s")
        );
    }
}
