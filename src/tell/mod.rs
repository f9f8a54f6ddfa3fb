//! Whom a run or a suite tells of its end, beyond its own directory and terminal: a CI service, a web hook. Nothing here changes a verdict.

mod github;
mod notify;
mod suite;

use std::path::Path;

use crate::cli::TellArgs;
use crate::exit::Failure;
use crate::report::RunData;

/// What was asked for, resolved before the run: a night's run must not end with a web hook whose address was never there.
pub(crate) struct Tell {
    is_github: bool,
    notice: Option<notify::Notice>,
}

impl Tell {
    pub(crate) fn of(args: &TellArgs) -> Result<Self, Failure> {
        let notice = args.notify.as_deref().map(|address| notify::Notice::to(address, args.notify_always)).transpose()?;
        Ok(Self { is_github: args.ci.is_github(), notice })
    }

    /// From the run's directory alone. What cannot be told is said on standard error, and the exit code stays what it is.
    pub(crate) fn end(&self, run: &Path) {
        if !self.is_github && self.notice.is_none() {
            return;
        }
        let data = match RunData::load(run) {
            Ok(data) => data,
            Err(error) => return eprintln!("nobody was told of the run's end: {error}"),
        };
        if self.is_github {
            crate::say_raw!("{}", github::annotations(&data));
            github::summarize(&github::summary(&data));
        }
        if let Some(notice) = &self.notice {
            say(notice.end(&data));
        }
    }

    /// The same of a suite, from its directory.
    pub(crate) fn suite_end(&self, suite: &Path) {
        if !self.is_github && self.notice.is_none() {
            return;
        }
        let result = match suite::Ended::read(suite) {
            Ok(result) => result,
            Err(error) => return eprintln!("nobody was told of the suite's end: {error:#}"),
        };
        if self.is_github {
            github::suite(&result.whole);
        }
        if let Some(notice) = &self.notice {
            say(result.tell(notice));
        }
    }
}

fn say(told: Result<Option<String>, String>) {
    match told {
        Ok(Some(told)) => eprintln!("{told}"),
        Ok(None) => {}
        Err(why) => eprintln!("the web hook was not told: {why}"),
    }
}
