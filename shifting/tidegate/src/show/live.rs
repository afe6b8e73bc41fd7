//! A view that changes in place.

use std::io::{self, IsTerminal};

use console::Term;

use super::text::cut;

/// Redraws a block of lines in place on a terminal. Where there is no terminal, blocks are
/// not drawn at all, and callers write one line per change instead.
#[derive(Debug)]
pub struct Live {
    term: Term,
    in_place: bool,
    /// Lines on the screen that the next block replaces.
    drawn: usize,
}

// === impl Live ===

impl Live {
    /// On standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self {
            in_place: usable(&io::stdout()),
            term: Term::stdout(),
            drawn: 0,
        }
    }

    /// On standard error, for programs whose standard output is data.
    #[must_use]
    pub fn stderr() -> Self {
        Self {
            in_place: usable(&io::stderr()),
            term: Term::stderr(),
            drawn: 0,
        }
    }

    /// Whether blocks are redrawn in place.
    #[must_use]
    pub fn in_place(&self) -> bool {
        self.in_place
    }

    /// Replaces the block on the screen. Lines are cut to the terminal's width and the block to
    /// its height, because a wrapped or scrolled line could not be found again.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, block: &str) -> io::Result<()> {
        if !self.in_place {
            return Ok(());
        }
        let (rows, columns) = self.term.size();
        let lines: Vec<String> = block
            .lines()
            .take(usize::from(rows).saturating_sub(1).max(1))
            .map(|line| cut(line, usize::from(columns)))
            .collect();
        self.clear()?;
        for line in &lines {
            self.term.write_line(line)?;
        }
        self.drawn = lines.len();
        self.term.flush()
    }

    /// Writes `line` for good, above the block; the next [`Live::draw`] comes below it.
    ///
    /// # Errors
    /// When the output is gone.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        self.clear()?;
        self.term.write_line(line)?;
        self.term.flush()
    }

    /// Takes the block off the screen.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.drawn);
        if lines == 0 {
            Ok(())
        } else {
            self.term.clear_last_lines(lines)
        }
    }
}

fn usable(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
