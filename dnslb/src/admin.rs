//! The admin API: status, reload, and operators' words. Who may is decided by `farm_daemon::admin` before anything here runs.

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dnslb_core::control::AdminCommand;
use farm_shared::member::Forced;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::shell::Ask;

#[derive(Deserialize)]
struct Why {
    #[serde(default)]
    why: String,
}

/// The routes; `ask` leads to the control loop.
pub fn router(ask: mpsc::Sender<Ask>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/admin/{verb}/{group}/{member}", post(command))
        .with_state(ask)
}

async fn status(State(ask): State<mpsc::Sender<Ask>>) -> Response {
    match asked(&ask, Ask::Status).await {
        Some((status, _)) => Json(status).into_response(),
        None => gone(),
    }
}

async fn reload(State(ask): State<mpsc::Sender<Ask>>) -> Response {
    match asked(&ask, Ask::Reload).await {
        Some(Ok(generation)) => format!("reloaded; generation {generation}\n").into_response(),
        Some(Err(problems)) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (StatusCode::UNPROCESSABLE_ENTITY, lines.join("\n") + "\n").into_response()
        }
        None => gone(),
    }
}

async fn command(
    State(ask): State<mpsc::Sender<Ask>>,
    Path((verb, group, member)): Path<(String, String, String)>,
    Query(Why { why }): Query<Why>,
) -> Response {
    let force = match verb.as_str() {
        "drain" => Some(Forced::Drain),
        "down" => Some(Forced::Down),
        "up" => Some(Forced::Up),
        "clear" => None,
        _ => return (StatusCode::NOT_FOUND, "expected drain, down, up or clear\n").into_response(),
    };
    let command = AdminCommand { target: format!("{group}/{member}"), force, why };
    match asked(&ask, |to| Ask::Command(command, to)).await {
        Some(Ok(text)) => format!("{text}\n").into_response(),
        Some(Err(text)) => (StatusCode::NOT_FOUND, format!("{text}\n")).into_response(),
        None => gone(),
    }
}

async fn asked<T>(ask: &mpsc::Sender<Ask>, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (to, answer) = oneshot::channel();
    ask.send(question(to)).await.ok()?;
    answer.await.ok()
}

fn gone() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n").into_response()
}
