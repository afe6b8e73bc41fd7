//! Width and colours.

use std::io::IsTerminal;

/// How text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are used.
    pub color: bool,
    /// Columns that lines must fit, at least 60.
    pub width: usize,
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went as it should.
    Good,
    /// Look at it.
    Warning,
    /// It failed.
    Bad,
    /// Names and headings.
    Strong,
    /// Labels and side remarks.
    Faint,
}

/// Columns when nothing is known of the terminal, and at most.
const WIDTH: usize = 100;
const WIDTH_MIN: usize = 60;

// === impl Style ===

impl Style {
    /// No colours, 100 columns: for files, pipes and tests.
    #[must_use]
    pub const fn plain() -> Self {
        Self {
            color: false,
            width: WIDTH,
        }
    }

    /// For standard output or standard error: colours only on a terminal, and not when
    /// `NO_COLOR` is set and not empty (<https://no-color.org>) or the terminal is `dumb`.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        if !stream.is_terminal() {
            return Self::plain();
        }
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        // Standard output may be redirected while standard error is the terminal, or the other way.
        let columns = [console::Term::stdout(), console::Term::stderr()]
            .iter()
            .find_map(|term| term.size_checked())
            .map(|(_, columns)| usize::from(columns));
        Self {
            color: !set("NO_COLOR") && !dumb,
            width: columns.unwrap_or(WIDTH).clamp(WIDTH_MIN, WIDTH),
        }
    }

    /// `text` in the colour of `tone`, or as it is without colours.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_escape_codes() {
        assert_eq!(Style::plain().paint(Tone::Bad, "reverted"), "reverted");
        let color = Style {
            color: true,
            width: 100,
        };
        assert_eq!(
            color.paint(Tone::Bad, "reverted"),
            "\u{1b}[31mreverted\u{1b}[0m"
        );
    }

    #[test]
    fn a_pipe_gets_plain_text() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = std::os::fd::OwnedFd::from(writer);
        assert_eq!(Style::of(&writer), Style::plain());
    }
}
