//! A headless Chromium, driven through its debugging pipe: a message a time, JSON ended by a NUL.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

const CHROMIUM: &str = "/usr/bin/chromium";
/// How long to wait for one answer; a busy machine starts a browser slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether Debian's browser is there.
pub fn installed() -> bool {
    Path::new(CHROMIUM).exists()
}

/// A browser with one page. Ends with the value.
#[derive(Debug)]
pub struct Chromium {
    process: Child,
    commands: Option<File>,
    messages: Receiver<Value>,
    /// Events that came while an answer was waited for.
    events: VecDeque<Value>,
    session: Value,
    number: u64,
    _home: TempDir,
}

impl Chromium {
    /// Starts a browser with an empty page of `width` by `height`.
    pub fn start(width: u32, height: u32) -> Self {
        let home = tempfile::Builder::new().prefix("layerfs-chromium-").tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let made = Command::new("mkfifo").arg(at("in")).arg(at("out")).status().unwrap();
        assert!(made.success());
        // The browser reads commands at 3 and answers at 4; only a shell can say so without unsafe code.
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$LAYERFS_PIPES/in\" 4>\"$LAYERFS_PIPES/out\""])
            .args(["setpriv", "--pdeathsig", "KILL", CHROMIUM, "--remote-debugging-pipe", "--headless", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", at("profile").display()))
            .arg("about:blank")
            .env("LAYERFS_PIPES", home.path())
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .stdout(Stdio::null())
            .stderr(File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let commands = OpenOptions::new().write(true).open(at("in")).unwrap();
        let answers = File::open(at("out")).unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { break };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            commands: Some(commands),
            messages,
            events: VecDeque::new(),
            session: Value::Null,
            number: 0,
            _home: home,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        browser
    }

    /// The result of a command. Fails the test if the browser refuses it or does not answer.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.commands.as_mut().unwrap().write_all(&bytes).unwrap();
        loop {
            let mut message = self.next(method);
            if message["id"] == self.number {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    fn next(&self, what: &str) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => panic!("{what}: the browser does not answer"),
            RecvTimeoutError::Disconnected => panic!("{what}: the browser has ended"),
        })
    }

    /// Events with this name since the start.
    pub fn events(&mut self, method: &str) -> Vec<Value> {
        self.events.extend(self.messages.try_iter());
        self.events.iter().filter(|event| event["method"] == method).map(|event| event["params"].clone()).collect()
    }

    /// Opens a file and waits until it has been loaded.
    pub fn open(&mut self, file: &Path) {
        let loaded = self.events("Page.loadEventFired").len();
        let result = self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        assert!(result.get("errorText").is_none(), "{result}");
        self.until("the page is loaded", |browser| browser.events("Page.loadEventFired").len() > loaded);
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// The text of an expression in the page.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// Waits until the page says yes.
    pub fn wait_for(&mut self, expression: &str) {
        self.until(expression, |browser| browser.eval(expression) == true);
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Moves the mouse over the middle of the element that `expression` gives, after scrolling to it.
    pub fn point_at(&mut self, expression: &str) -> (f64, f64) {
        let middle = self.eval(&format!(
            "(() => {{ const e = {expression}; e.scrollIntoView({{block: 'nearest'}});
               const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + Math.min(r.height / 2, 8)]; }})()"
        ));
        let (x, y) = (middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap());
        self.call("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": x, "y": y}));
        (x, y)
    }

    /// Clicks the element that `expression` gives, with a mouse.
    pub fn click(&mut self, expression: &str) {
        let (x, y) = self.point_at(expression);
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    /// Presses a key that has this name and code and enters no text.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Presses Enter, which enters a line's end too.
    pub fn press_enter(&mut self) {
        let params =
            json!({"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
        self.call("Input.dispatchKeyEvent", params);
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": "Enter", "windowsVirtualKeyCode": 13}));
    }

    /// Types into what has the focus.
    pub fn type_in(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Gives the page this size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// Tells the page that the user prefers `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let params = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", params);
    }

    /// Looks at the page as on paper.
    pub fn on_paper(&mut self) {
        self.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    }

    /// What is seen, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        // Two frames: what was just changed has been drawn then.
        self.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))");
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// The page on paper, as PDF.
    pub fn print(&mut self) -> Vec<u8> {
        let pdf = self.call("Page.printToPDF", json!({"printBackground": false}));
        base64::engine::general_purpose::STANDARD.decode(pdf["data"].as_str().unwrap()).unwrap()
    }

    /// What the browser complains of: exceptions, the console, its own log with breaches of the policy.
    pub fn complaints(&mut self) -> Vec<Value> {
        let kinds = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
        kinds.iter().flat_map(|kind| self.events(kind)).collect()
    }
}

impl Drop for Chromium {
    /// Asks the browser to end, so that it waits for its own processes; makes it, if it does not.
    fn drop(&mut self) {
        if let Some(mut commands) = self.commands.take() {
            let _ = commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        }
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
