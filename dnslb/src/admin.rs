//! The admin API: status, reload, and operators' words. Who may is decided by `farm_daemon::admin` before anything here runs.

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dnslb_core::control::AdminCommand;
use farm_shared::config::parse_duration_ms;
use farm_shared::member::Forced;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::shell::Ask;
use crate::store::{Keeper, Wish};

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    why: String,
    #[serde(default)]
    by: String,
    /// A duration as in the configuration: `1h30m`.
    r#for: Option<String>,
}

/// The routes; `ask` leads to the control loop, `keeper` to the zones.
pub fn router(ask: mpsc::Sender<Ask>, keeper: Keeper) -> Router {
    let zones = Router::new().route("/v1/zones", get(zones)).route("/v1/zones/{verb}/{name}", post(zone)).with_state(keeper);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/admin/{verb}/{group}/{member}", post(command))
        .with_state(ask)
        .merge(zones)
}

async fn zones(State(keeper): State<Keeper>) -> Response {
    keeper.status().await.map_or_else(gone, |zones| Json(zones).into_response())
}

async fn zone(State(keeper): State<Keeper>, Path((verb, name)): Path<(String, String)>) -> Response {
    let wish = match verb.as_str() {
        "freeze" => Wish::Freeze,
        "thaw" => Wish::Thaw,
        "sync" => Wish::Sync,
        "reload" => Wish::Reload,
        _ => return (StatusCode::NOT_FOUND, "expected freeze, thaw, sync or reload\n").into_response(),
    };
    let Ok(apex) = name.parse() else {
        return (StatusCode::NOT_FOUND, format!("{name:?} is no domain name\n")).into_response();
    };
    match keeper.wish(wish, apex).await {
        Some(Ok(text)) => format!("{text}\n").into_response(),
        Some(Err(text)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{}\n", text.trim_end())).into_response(),
        None => gone(),
    }
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
    Query(Said { why, by, r#for }): Query<Said>,
) -> Response {
    let force = match verb.as_str() {
        "drain" => Some(Forced::Drain),
        "down" => Some(Forced::Down),
        "up" => Some(Forced::Up),
        "clear" | "auto" => None,
        _ => return (StatusCode::NOT_FOUND, "expected drain, down, up or auto\n").into_response(),
    };
    let for_ms = r#for.as_deref().map(|text| parse_duration_ms(text).ok_or(text));
    let for_ms = match for_ms.transpose() {
        Ok(for_ms) => for_ms,
        Err(text) => return (StatusCode::BAD_REQUEST, format!("{text:?} is no duration such as 1h30m\n")).into_response(),
    };
    let command = AdminCommand { target: format!("{group}/{member}"), force, why, by, for_ms };
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
