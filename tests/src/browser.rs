//! A headless Chromium, driven by the DevTools protocol over a pair of pipes, so that a page can be looked at as people see it.
//!
//! It must be gone with its value, and an answer that does not come must end the test, not hang it.

use crate::daemon::{Daemon, SOON, Scratch};
use crate::{peer, wait};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

/// The browser with one page.
pub struct Browser {
    inner: RefCell<Inner>,
    session: String,
    _daemon: Daemon,
}

struct Inner {
    to: File,
    from: Receiver<Value>,
    next: u64,
    events: Vec<Value>,
}

impl Browser {
    /// Starts it; `None`, said loudly, if it is not installed.
    pub fn start(scratch: &Scratch) -> Option<Self> {
        Self::start_with(scratch, &[])
    }

    /// The same with more words on its command line.
    pub fn start_with(scratch: &Scratch, more: &[String]) -> Option<Self> {
        let chromium = peer::installed("chromium")?;
        let path = |name: &str| scratch.path().join(name);
        let (to, from) = (path("browser-in"), path("browser-out"));
        let made = Command::new("mkfifo").args([&to, &from]).status().expect("mkfifo");
        assert!(made.success(), "no pipes for the browser");
        let mut command = Command::new("sh");
        // The protocol speaks on descriptors 3 and 4.
        command.args(["-c", "exec \"$@\" 3<\"$0\" 4>\"$FROM\""]).arg(&to).arg(chromium).env("FROM", &from);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--remote-debugging-pipe", "--disable-background-networking", "--disable-component-update"]);
        command.arg(format!("--user-data-dir={}", path("browser").display())).args(more).arg("about:blank");
        let daemon = Daemon::spawn(command, path("browser.log"));
        let to = OpenOptions::new().write(true).open(&to).expect("the browser's input");
        let reader = BufReader::new(File::open(&from).expect("the browser's output"));
        let (sender, from) = channel();
        // Ends with the pipe, which ends with the browser.
        std::thread::spawn(move || {
            for message in reader.split(0).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_slice(&message).unwrap_or_default());
            }
        });
        let inner = RefCell::new(Inner { to, from, next: 0, events: Vec::new() });
        let mut browser = Self { inner, session: String::new(), _daemon: daemon };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// One command, and what it answers.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let mut inner = self.inner.borrow_mut();
        inner.next += 1;
        let id = inner.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        inner.to.write_all(&bytes).expect("the browser listens");
        loop {
            let answer = inner.from.recv_timeout(SOON).unwrap_or_else(|e| panic!("{method}: {e}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            inner.events.push(answer);
        }
    }

    /// The value of an expression in the page.
    pub fn eval(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds in the page.
    pub fn until(&self, expression: &str) {
        wait::until(expression, SOON, || (self.eval(expression) == true).then_some(()));
    }

    /// Goes to an address and waits until the page is there.
    pub fn open(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until("document.readyState === 'complete'");
    }

    /// A window of this size, dark or light.
    pub fn window(&self, width: u32, height: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The page as an image (PNG) below `FARM_SHOTS`, if somebody wants to look at it. Returns the octets of its base64 form.
    pub fn shot(&self, name: &str) -> usize {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let data = answer["data"].as_str().expect("an image");
        if let Some(folder) = std::env::var_os("FARM_SHOTS") {
            let file = std::path::Path::new(&folder).join(format!("{name}.png.base64"));
            std::fs::write(file, data).expect("a file for the image");
        }
        data.len()
    }

    /// What the browser told by itself so far: events of the protocol, by method.
    pub fn events(&self, method: &str) -> Vec<Value> {
        self.inner.borrow().events.iter().filter(|e| e["method"] == method).map(|e| e["params"].clone()).collect()
    }
}
