//! The few pages that people may see at the front door: plain HTML that reads well on a phone and in a screen reader.
//!
//! They hold nothing from the request.

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;\
color-scheme:light dark}";

fn page(title: &str, head: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">{head}<style>{STYLE}</style></head>\
<body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    )
}

/// For 503: the operator closed what was asked for.
pub(super) fn maintenance() -> String {
    page("Closed for maintenance", "", "This service is being worked on and will be back. Please try again later.")
}

/// For 429: one source asked too often.
pub(super) fn limited(retry_after_s: u32) -> String {
    let text = format!("Too many requests came from your network. Please try again in {retry_after_s} seconds.");
    page("Too many requests", "", &text)
}

/// For a refused request. `front` is a name of the front door, to lead people who came by a server's own name.
pub(super) fn reject(status: u16, front: Option<&str>) -> String {
    let (title, text) = match status {
        404 => ("Not found", "There is nothing at this address."),
        503 => ("Not reachable", "The servers of this service cannot be reached by their names just now."),
        405 => ("Method not allowed", "This address does not answer that kind of request."),
        414 => ("Address too long", "The address of this request is too long."),
        421 => ("Wrong address", "This server does not answer for that name."),
        _ => ("Bad request", "This request cannot be understood."),
    };
    match front {
        Some(front) if matches!(status, 421 | 503) => {
            page(title, "", &format!("{text} Please begin at <a href=\"//{0}/\">{0}</a>.", escape(front)))
        }
        _ => page(title, "", text),
    }
}

/// Text as HTML text or attribute value.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
