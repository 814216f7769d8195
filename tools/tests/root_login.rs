//! `layerfs login` and `logout` with registries that ask who it is: passwords, tokens, helpers; and how such registries are reached.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};
use testkit::registry::{Registry, USER, make_certificates, with_host, with_password};
use testkit::run::{Input, Ran, layerfs, run};

const HOST: &str = "registry.test";

/// Another name of it, for which its certificate is not.
const OTHER: &str = "other.test";

fn installed() -> bool {
    testkit::is_root() && Registry::installed("root")
}

/// A user with a home, and a store with an image.
struct User {
    dir: TempDir,
    root: PathBuf,
}

impl User {
    fn new() -> Self {
        let dir = testkit::scratch();
        let root = dir.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
        Self { dir, root }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("docker-config/config.json")
    }

    /// Runs `layerfs`, for which [`HOST`] and [`OTHER`] are this machine.
    fn run(&self, arguments: &[&str], input: Input<'_>, envs: &[(&str, &str)]) -> Ran {
        let mut command = layerfs(&["--root", self.root.to_str().unwrap()]);
        command.args(arguments).env("DOCKER_CONFIG", self.config().parent().unwrap());
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.envs(envs.iter().copied());
        run(with_host(&command, &self.dir.path().join("hosts"), &format!("{HOST} {OTHER}")), input)
    }

    fn tag(&self, name: &str) {
        let listed = testkit::made_by_layerfs(&self.root, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        testkit::made_by_layerfs(&self.root, &["tag", listed.lines().next().unwrap(), name]);
    }
}

fn refused(ran: &Ran, words: &str) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
}

#[test]
fn root_login_to_a_registry_with_a_password_and_an_authority_of_its_own() {
    if !installed() || !testkit::tier("root", Path::new("/usr/bin/openssl").exists(), "/usr/bin/openssl") {
        return;
    }
    let user = User::new();
    let (files, certs) = (user.dir.path().join("tls"), user.dir.path().join("certs"));
    make_certificates(&files, HOST);
    let file = |name: &str| files.join(name).display().to_string();
    let tls = format!(", tls: {{certificate: {}, key: {}}}", file("host.crt"), file("host.key"));
    let dir = user.dir.path().join("registry");
    let registry = Registry::start_with(&dir, &tls, &with_password(&dir));
    let at = registry.host.replace("127.0.0.1", HOST);
    let name = format!("{at}/t/image:1");
    user.tag(&name);
    let certs_dir = format!("--certs-dir={}", certs.display());
    let login = |flags: &[&str], password: &str| {
        let arguments = [&["login", "-u", USER.0, "--password-stdin"], flags, &[&at]].concat();
        user.run(&arguments, Input::Pipe(format!("{password}\n").as_bytes()), &[])
    };
    refused(&login(&[&certs_dir], USER.1), "x509: certificate signed by unknown authority");
    let own = certs.join(&at);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(files.join("ca.crt"), own.join("ca.crt")).unwrap();
    let words = format!("login attempt to https://{at}/v2/ failed with status: 401 Unauthorized");
    refused(&login(&[&certs_dir], "wrong"), &words);
    assert!(!user.config().exists(), "nothing is kept of a login that failed");
    let push = |flags: &[&str]| user.run(&[&["push"], flags, &[&name]].concat(), Input::Nothing, &[]);
    refused(&push(&[&certs_dir]), "no basic auth credentials");

    let said = login(&[&certs_dir], USER.1).ok();
    assert_eq!(said.stdout, "Login Succeeded\n");
    assert!(said.stderr.contains("stored unencrypted in "), "{}", said.stderr);
    assert!(!(said.stdout + &said.stderr).contains(USER.1), "no password is shown");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&user.config()), mode(user.config().parent().unwrap())), (0o600, 0o700));
    push(&[&certs_dir]).ok();
    // Who need not prove who it is: as the flag says, or the daemon's configuration.
    refused(&push(&[]), "x509: certificate signed by unknown authority");
    push(&["--tls-verify=false"]).ok();
    let config = user.dir.path().join("daemon.json");
    let daemon_config = format!("--daemon-config={}", config.display());
    std::fs::write(&config, format!("{{\"insecure-registries\": [\"{at}\"], \"debug\": true}}")).unwrap();
    push(&[&daemon_config]).ok();
    std::fs::write(&config, "{\"insecure-registries\": [\"127.0.0.0/8\"]}").unwrap();
    push(&[&daemon_config]).ok();
    std::fs::write(&config, "{\"insecure-registries\": [\"other.test\", \"10.0.0.0/8\"]}").unwrap();
    refused(&push(&[&daemon_config]), "x509: certificate signed by unknown authority");
    std::fs::write(&config, "{").unwrap();
    refused(&push(&[&daemon_config]), "daemon.json");
    // Another name of the same host is not what the certificate is for.
    let other = at.replace(HOST, OTHER);
    std::fs::create_dir(certs.join(&other)).unwrap();
    std::fs::copy(own.join("ca.crt"), certs.join(&other).join("ca.crt")).unwrap();
    let tags = user.run(&["image", "tags", &certs_dir, &format!("{other}/t/image")], Input::Nothing, &[]);
    refused(&tags, &format!("x509: certificate is not valid for {OTHER}"));

    testkit::made_by_layerfs(&user.root, &["rmi", &name]);
    let pulled = user.run(&["pull", &certs_dir, &name], Input::Nothing, &[]).ok();
    assert!(pulled.stdout.contains("Status: Downloaded newer image"), "{}", pulled.stdout);
    let again = user.run(&["login", &certs_dir, &at], Input::Nothing, &[]).ok();
    assert_eq!(again.stdout, "Authenticating with existing credentials...\nLogin Succeeded\n");
    let out = user.run(&["logout", &at], Input::Nothing, &[]).ok();
    assert_eq!(out.stdout, format!("Removing login credentials for {at}\n"));
    refused(&push(&[&certs_dir]), "no basic auth credentials");
}

/// A registry with a token server, which gives a token that lasts to whoever asks with a password.
fn with_tokens() -> FaultRegistry {
    FaultRegistry::start(|asked: &Asked| {
        let host = &asked.headers["host"];
        let shown = asked.headers.get("authorization").map(String::as_str);
        if asked.path.starts_with("/token") {
            // `tester:geheim`
            return match (asked.method.as_str(), shown) {
                ("GET", Some("Basic dGVzdGVyOmdlaGVpbQ==")) => {
                    Reply::new(200, br#"{"token":"short","refresh_token":"lasts","expires_in":300}"#)
                }
                ("POST", None) if String::from_utf8_lossy(&asked.body).contains("refresh_token=lasts") => {
                    Reply::new(200, br#"{"access_token":"renewed","expires_in":300}"#)
                }
                _ => Reply::new(401, br#"{"details":"incorrect username or password"}"#),
            };
        }
        match shown {
            Some("Bearer short" | "Bearer renewed") if asked.path == "/v2/" => Reply::new(200, b"{}"),
            Some("Bearer renewed") if asked.path.contains("/tags/list") => Reply::new(200, br#"{"tags":["1"]}"#),
            Some("Bearer renewed") => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            _ => {
                let realm = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
                Reply::new(401, b"").with("WWW-Authenticate", &realm)
            }
        }
    })
}

/// Without credentials a search may find less, so the user is told why there are none.
#[test]
fn root_login_file_that_cannot_be_read_is_said_by_a_search() {
    if !testkit::is_root() {
        return;
    }
    let user = User::new();
    std::fs::create_dir(user.config().parent().unwrap()).unwrap();
    std::fs::write(user.config(), "{").unwrap();
    let registry = FaultRegistry::start(|_: &Asked| Reply::new(200, b"{\"results\":[]}"));
    let ran = user.run(&["search", &format!("{}/app", registry.host)], Input::Nothing, &[]).ok();
    assert!(ran.stderr.contains("warning: error loading config file: "), "{}", ran.stderr);
}

#[test]
fn root_login_keeps_a_token_instead_of_the_password() {
    if !installed() {
        return;
    }
    let (user, registry) = (User::new(), with_tokens());
    let login = |password: &str| {
        let arguments = ["login", "-u", USER.0, "--password-stdin", &registry.host];
        user.run(&arguments, Input::Pipe(password.as_bytes()), &[])
    };
    refused(&login("wrong"), "unauthorized: incorrect username or password");
    let said = login(USER.1).ok();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("Login Succeeded\n", ""), "no password is kept");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(user.config()).unwrap()).unwrap();
    // `tester:`
    let expected = serde_json::json!({"auths": {&registry.host: {"auth": "dGVzdGVyOg==", "identitytoken": "lasts"}}});
    assert_eq!(kept, expected);
    let asked = registry.asked();
    let tokens: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/token")).collect();
    let path = &tokens.last().unwrap().path;
    for part in ["account=tester", "client_id=docker", "offline_token=true", "service=test"] {
        assert!(path.contains(part), "{part}: {path}");
    }
    assert!(!path.contains("scope="), "{path}");
    let pulled = user.run(&["pull", &format!("{}/t/x:1", registry.host)], Input::Nothing, &[]);
    refused(&pulled, "manifest unknown");
}

#[test]
fn root_login_leaves_passwords_to_a_helper() {
    if !installed() {
        return;
    }
    let user = User::new();
    let dir = user.dir.path().join("registry");
    let registry = Registry::start_with(&dir, "", &with_password(&dir));
    let bin = user.dir.path().join("bin");
    std::fs::create_dir_all(user.config().parent().unwrap()).unwrap();
    std::fs::write(user.config(), "{\"credsStore\": \"kit\", \"other\": {\"kept\": true}}").unwrap();
    std::fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-kit");
    let kept = user.dir.path().join("kept");
    // Keeps what it is given, in a file.
    let script = format!(
        "#!/bin/sh\nfile='{}'\ncase $1 in\nstore) cat >$file ;;\nget) cat >/dev/null; [ -e $file ] && cat $file || {{ echo credentials not found in native keychain; exit 1; }} ;;\nerase) cat >/dev/null; rm $file ;;\nesac\n",
        kept.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let envs = [("PATH", path.as_str())];
    let input = Input::Pipe(USER.1.as_bytes());
    let said = user.run(&["login", "-u", USER.0, "--password-stdin", &registry.host], input, &envs).ok();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("Login Succeeded\n", ""));
    let message: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(message["Secret"], USER.1);
    let config = std::fs::read_to_string(user.config()).unwrap();
    assert!(config.contains("\"kept\"") && !config.contains("\"auth\""), "{config}");
    let name = format!("{}/t/image:1", registry.host);
    user.tag(&name);
    user.run(&["push", &name], Input::Nothing, &envs).ok();
    user.run(&["logout", &registry.host], Input::Nothing, &envs).ok();
    assert!(!kept.exists());
    refused(&user.run(&["push", &name], Input::Nothing, &envs), "no basic auth credentials");
    // A helper that is not there is an error where something is to be kept.
    let broken = user.run(&["login", "-u", USER.0, "--password-stdin", &registry.host], input, &[]);
    refused(&broken, "error storing credentials - err: ");
}

#[test]
fn root_login_goes_through_the_proxy_of_the_environment() {
    if !installed() {
        return;
    }
    let user = User::new();
    let proxy = FaultRegistry::start(|_| Reply::new(403, b""));
    let at = format!("http://{}", proxy.host);
    let name = format!("{HOST}/t/image:1");
    let ran = user.run(&["pull", &name], Input::Nothing, &[("HTTPS_PROXY", &at)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let asked = proxy.asked();
    assert!(asked.iter().any(|asked| asked.method == "CONNECT" && asked.path.starts_with(HOST)), "{asked:?}");
    // What is on this machine is asked directly.
    let registry = with_tokens();
    let before = proxy.asked().len();
    let ran = user.run(
        &["pull", &format!("{}/t/x:1", registry.host)],
        Input::Nothing,
        &[("HTTPS_PROXY", &at), ("HTTP_PROXY", &at)],
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!registry.asked().is_empty() && proxy.asked().len() == before);
}
