//! `tidegate rollout plan|start|back|status|watch|pause|resume|approve|abort|queue|cancel`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_engine::rollout::{After, Decision, Phase, QueuedStatus, RolloutStatus, Terms};
use tidegate_engine::time::Time;

use super::{
    ApiArguments, EXIT_OVERDUE, EXIT_REVERTED, Failure, Outcome, WhoArguments, print_json,
    print_text,
};
use crate::api::model::{
    AbortRequest, ActRequest, BackRequest, CancelRequest, PlanQuery, QueueAnswer, RequestedTurn,
    StartRequest, Started,
};
use crate::client::{Client, ClientError};
use crate::show::{self, Live, Style};

/// How often `watch` asks.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long `watch` goes on asking a control plane that does not answer.
const WATCH_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Show what a rollout would do, which failures each step would see, and how soon
    Plan(PlanArguments),
    /// Move a service's traffic to another version, in steps; or, as `fleet:NAME REVISION`, try a
    /// fleet's declared configuration again, which began by itself and went back
    Start(StartArguments),
    /// Go back to an earlier version, by every step; faster when it is known good
    Back(BackArguments),
    /// Show rollouts: where they stand, why they wait, what they did. Those of a fleet's configuration
    /// are called `fleet:NAME`, here and in all other commands
    Status(StatusArguments),
    /// Follow a rollout until it ends: exit code 0 promoted, 10 reverted, 11 held past its deadline
    Watch(ServiceArguments),
    /// Pause: the canary keeps its present share, and nothing advances
    Pause(ActArguments),
    /// Let a paused or overdue rollout go on
    Resume(ActArguments),
    /// Approve: let a rollout leave the step it stands on, whose gate asks for a person
    Approve(ActArguments),
    /// Take the canary back now
    Abort(AbortArguments),
    /// Show the starts that wait for their turn
    Queue(QueueArguments),
    /// Take a start out of the queue
    Cancel(CancelArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// The service
    service: String,
    /// The version that is to have the traffic
    #[arg(value_name = "VERSION")]
    to: String,
    /// Requests per second to plan for [default: as measured in the last minute]
    #[arg(long, value_name = "NUMBER")]
    rps: Option<f64>,
    /// Part of them that fail, in percent [default: as measured; with --rps what the objective allows]
    #[arg(long, value_name = "PERCENT")]
    errors: Option<f64>,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// The service
    service: String,
    /// The version that is to have the traffic
    #[arg(value_name = "VERSION")]
    to: String,
    /// In a freeze, wait until it is over [default: refused; behind a running rollout it waits
    /// anyway]
    #[arg(long, conflicts_with = "supersede")]
    queue: bool,
    /// Take the running rollout back first, instead of waiting for its end
    #[arg(long)]
    supersede: bool,
    /// Begin beside a running rollout of a service that this one calls, is called by, or shares
    /// such a neighbour with [default: waits for its end]; then a fault of one may be blamed on the
    /// other
    #[arg(long)]
    overlap: bool,
    /// Wait until this version of another service, or revision of `fleet:NAME`, is committed [default:
    /// the one under way]; dropped when that goes back. May be given several times
    #[arg(long, value_name = "SERVICE[@VERSION]", conflicts_with = "supersede")]
    after: Vec<After>,
    /// Follow it until it ends, as `watch` does
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    who: WhoArguments,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct QueueArguments {
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArguments {
    /// The service
    service: String,
    /// The version whose start waits
    #[arg(value_name = "VERSION")]
    to: String,
    #[command(flatten)]
    who: WhoArguments,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BackArguments {
    /// The service
    service: String,
    /// The version to go back to [default: the latest that is known good]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Follow it until it ends, as `watch` does
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    who: WhoArguments,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// The service; all when left out
    service: Option<String>,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// The service
    service: String,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ActArguments {
    /// The service
    service: String,
    #[command(flatten)]
    who: WhoArguments,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct AbortArguments {
    /// Why; kept in the journal
    #[arg(long, default_value = "")]
    reason: String,
    /// Refuse this version from now on, as if it had failed by itself
    #[arg(long)]
    quarantine: bool,
    #[command(flatten)]
    act: ActArguments,
}

pub(crate) async fn run(command: RolloutCommand, json: bool) -> Outcome {
    match command {
        RolloutCommand::Plan(arguments) => plan(arguments, json).await,
        RolloutCommand::Start(arguments) => start(arguments, json).await,
        RolloutCommand::Back(arguments) => back(arguments, json).await,
        RolloutCommand::Status(arguments) => status(arguments, json).await,
        RolloutCommand::Watch(arguments) => {
            watch(&arguments.api.client(), &arguments.service, json).await
        }
        RolloutCommand::Pause(act) => act_on(act, Verb::Pause, json).await,
        RolloutCommand::Resume(act) => act_on(act, Verb::Resume, json).await,
        RolloutCommand::Approve(act) => act_on(act, Verb::Approve, json).await,
        RolloutCommand::Queue(QueueArguments { api }) => {
            let answer = api.client().queue().await.map_err(Failure::new)?;
            print_queue(&answer, json)
        }
        RolloutCommand::Cancel(arguments) => {
            let request = CancelRequest {
                to: arguments.to,
                actor: arguments.who.name(),
            };
            let client = arguments.api.client();
            let answer = client.cancel(&arguments.service, &request).await;
            print_queue(&answer.map_err(Failure::new)?, json)
        }
        RolloutCommand::Abort(AbortArguments {
            reason,
            quarantine,
            act,
        }) => act_on(act, Verb::Abort { reason, quarantine }, json).await,
    }
}

#[derive(Debug)]
enum Verb {
    Pause,
    Resume,
    Approve,
    Abort { reason: String, quarantine: bool },
}

async fn plan(arguments: PlanArguments, json: bool) -> Outcome {
    let query = PlanQuery {
        to: arguments.to,
        rps: arguments.rps,
        error_rate: arguments.errors.map(|percent| percent / 100.0),
    };
    let client = arguments.api.client();
    let answer = client.plan(&arguments.service, &query).await;
    let answer = answer.map_err(Failure::new)?;
    if json {
        print_json(&answer)?;
    } else {
        print_text(&show::plan(&answer, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(arguments: StartArguments, json: bool) -> Outcome {
    let client = arguments.api.client();
    let request = StartRequest {
        to: arguments.to,
        actor: arguments.who.name(),
        turn: match (arguments.queue, arguments.supersede) {
            (true, _) => RequestedTurn::Queue,
            (_, true) => RequestedTurn::Supersede,
            _ => RequestedTurn::Next,
        },
        terms: Terms {
            overlap: arguments.overlap,
            after: arguments.after,
        },
    };
    let started = client
        .start(&arguments.service, &request)
        .await
        .map_err(Failure::new)?;
    match started {
        Started::Rollout(status) if !arguments.watch => print_one(&status, json)?,
        Started::Rollout(_) => return watch(&client, &arguments.service, json).await,
        Started::Pending(pending) if json => print_json(&pending)?,
        Started::Pending(pending) => {
            print_text(&show::pending(&[pending], &Style::of(&std::io::stdout())))?;
        }
        Started::Queued(queued) => {
            if !json {
                print_text(&show::queued(&queued))?;
            } else if !arguments.watch {
                print_json(&queued)?;
            }
            if arguments.watch {
                await_turn(&client, &arguments.service, &request.to).await?;
                return watch(&client, &arguments.service, json).await;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Until the queued start has begun.
async fn await_turn(client: &Client, service: &str, to: &str) -> Result<(), Failure> {
    let mut patience = Patience::new();
    loop {
        match client.queue().await {
            Ok(answer) => {
                patience.renew();
                let waits =
                    |entry: &QueuedStatus| entry.queued.service == service && entry.queued.to == to;
                if !answer.queue.iter().any(waits) {
                    break;
                }
            }
            Err(error) => patience.bear(error)?,
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    let latest = client.rollout(service).await.map_err(Failure::new)?;
    match latest {
        Some(status) if status.plan.to == to => Ok(()),
        _ => Err(Failure(format!(
            "the queued start of `{to}` was dropped or cancelled; the control plane's log and \
             `tidegate rollout status {service}` say why"
        ))),
    }
}

fn print_queue(answer: &QueueAnswer, json: bool) -> Outcome {
    if json {
        print_json(answer)?;
    } else {
        print_text(&show::queue(answer, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A control plane that restarts is part of the story, not its end.
#[derive(Debug)]
struct Patience {
    last_answer: tokio::time::Instant,
}

// === impl Patience ===

impl Patience {
    fn new() -> Self {
        Self {
            last_answer: tokio::time::Instant::now(),
        }
    }

    fn renew(&mut self) {
        self.last_answer = tokio::time::Instant::now();
    }

    /// Fails when there is nothing more to wait for.
    fn bear(&self, error: ClientError) -> Result<(), Failure> {
        match error {
            ClientError::Unreachable { .. } | ClientError::TimedOut { .. }
                if self.last_answer.elapsed() < WATCH_PATIENCE =>
            {
                Ok(())
            }
            error => Err(Failure::new(error)),
        }
    }
}

async fn back(arguments: BackArguments, json: bool) -> Outcome {
    let client = arguments.api.client();
    let request = BackRequest {
        to: arguments.to,
        actor: arguments.who.name(),
    };
    let status = client
        .back(&arguments.service, &request)
        .await
        .map_err(Failure::new)?;
    if arguments.watch {
        return watch(&client, &arguments.service, json).await;
    }
    print_one(&status, json)?;
    Ok(ExitCode::SUCCESS)
}

async fn status(arguments: StatusArguments, json: bool) -> Outcome {
    let client = arguments.api.client();
    match arguments.service {
        Some(service) => {
            let status = client.rollout(&service).await.map_err(Failure::new)?;
            let status = status.ok_or_else(|| no_rollout(&service))?;
            print_one(&status, json)?;
        }
        None => {
            let answer = client.rollouts().await.map_err(Failure::new)?;
            if json {
                print_json(&answer)?
            } else {
                print_text(&show::rollouts(&answer, &Style::of(&std::io::stdout())))?
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act_on(arguments: ActArguments, verb: Verb, json: bool) -> Outcome {
    let client = arguments.api.client();
    let (service, actor) = (&arguments.service, arguments.who.name());
    let status = match verb {
        Verb::Pause => client.pause(service, &ActRequest { actor }).await,
        Verb::Resume => client.resume(service, &ActRequest { actor }).await,
        Verb::Approve => client.approve(service, &ActRequest { actor }).await,
        Verb::Abort { reason, quarantine } => {
            let request = AbortRequest {
                actor,
                reason,
                quarantine,
            };
            client.abort(service, &request).await
        }
    }
    .map_err(Failure::new)?;
    print_one(&status, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Follows a rollout until it ends. With `--json` it prints one document a line for each change.
async fn watch(client: &Client, service: &str, json: bool) -> Outcome {
    let mut screen = Screen::new(json);
    let mut patience = Patience::new();
    loop {
        match client.rollout(service).await {
            Ok(Some(status)) => {
                patience.renew();
                screen.show(&status)?;
                if let Some(code) = exit_code(&status) {
                    return Ok(ExitCode::from(code));
                }
            }
            Ok(None) => return Err(no_rollout(service)),
            Err(error) => {
                let text = error.to_string();
                patience.bear(error)?;
                screen.note(&text);
            }
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn exit_code(status: &RolloutStatus) -> Option<u8> {
    match (&status.phase, &status.decision) {
        (Phase::Committed, _) => Some(0),
        (Phase::Reverted, _) => Some(EXIT_REVERTED),
        (_, Decision::Wait(waiting)) if waiting.overdue => Some(EXIT_OVERDUE),
        _ => None,
    }
}

fn no_rollout(service: &str) -> Failure {
    Failure(format!(
        "no rollout of `{service}` is known; start one with `tidegate rollout start {service} VERSION`"
    ))
}

fn print_one(status: &RolloutStatus, json: bool) -> Result<(), Failure> {
    if json {
        print_json(status)
    } else {
        print_text(&show::rollout(status, &Style::of(&std::io::stdout())))
    }
}

/// What `watch` prints: in place on a terminal, a line per change elsewhere.
#[derive(Debug)]
struct Screen {
    json: bool,
    live: Live,
    style: Style,
    last: String,
    /// When what was told last happened.
    told: Option<Time>,
}

// === impl Screen ===

impl Screen {
    fn new(json: bool) -> Self {
        let style = Style::of(&std::io::stdout());
        Self {
            json,
            live: Live::stdout(),
            style,
            last: String::new(),
            told: None,
        }
    }

    fn show(&mut self, status: &RolloutStatus) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(status).map_err(Failure::new)?;
            return self.print_if_new(text.clone(), text);
        }
        if !self.live.in_place() {
            for news in show::rollout_news(status, self.told) {
                print_text(&news)?;
            }
            self.told = status.history.last().map(|entry| entry.at);
            let subject = show::rollout_subject(status);
            return self.print_if_new(subject, show::rollout_line(status));
        }
        let text = if status.phase.is_final() {
            show::rollout(status, &self.style)
        } else {
            show::rollout_now(status, &self.style)
        };
        self.live.draw(&text).map_err(Failure::new)
    }

    fn note(&mut self, text: &str) {
        if self.last != text {
            eprintln!("tidegate: {text}");
            text.clone_into(&mut self.last);
        }
    }

    fn print_if_new(&mut self, subject: String, text: String) -> Result<(), Failure> {
        if self.last == subject {
            return Ok(());
        }
        self.last = subject;
        print_text(&text)
    }
}
