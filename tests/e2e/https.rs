//! HTTPS, as on the real Hub: which certificates are trusted, which protocol is used for which request, and that a run
//! never leaves HTTPS.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hfget_loopback_hub::{Hub, Options, TOKEN, Tls};

use super::support::{CHATGLM, Machine, Run, fixture, one_file};

fn secure(tls: Tls) -> Hub {
    let options = Options { tls: Some(tls), ..Options::default() };
    Hub::with(options, [fixture(CHATGLM), one_file(20 << 20)])
}

/// Runs a line with the token.
fn with_token(machine: &Machine, line: &str) -> Run {
    machine.command().env("HF_TOKEN", TOKEN).args(line.split_whitespace()).output().unwrap().into()
}

#[test]
fn api_requests_use_http2_and_bytes_have_connections_of_their_own() {
    let machine = Machine::trusting(secure(Tls::Both));
    with_token(&machine, CHATGLM).ends_with(0).says("verified");
    with_token(&machine, "org/one --connections 4").ends_with(0).says("verified");
    let requests = machine.hub.requests();
    let (questions, bytes): (Vec<_>, Vec<_>) =
        requests.iter().partition(|r| r.path.starts_with("/api/models/") && r.method == "GET");
    assert!(questions.len() >= 4 && questions.iter().all(|r| r.http2 && r.token), "{questions:?}");
    assert!(bytes.iter().any(|r| r.cdn) && bytes.iter().all(|r| !r.http2 && r.token != r.cdn), "{bytes:?}");
    assert!(requests.iter().all(|r| r.agent.starts_with("hfget/")), "{requests:?}");
}

/// A proxy that opens tunnels. Those to a port that nobody has end at `hub`. Returns its address, and the ports asked for.
fn tunnels(hub: u16) -> (String, Arc<Mutex<BTreeSet<u16>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let ports = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ports);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, seen) = (client.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let asked = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' ')).expect(&head).0;
                let (host, port) = asked.rsplit_once(':').unwrap();
                let port: u16 = port.parse().unwrap();
                seen.lock().unwrap().insert(port);
                let server = TcpStream::connect((host, if port == NOBODY { hub } else { port })).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut up, &mut down));
                let _ = std::io::copy(&mut &server, &mut client);
            });
        }
    });
    (address, ports)
}

/// A port that no server has.
const NOBODY: u16 = 1;

#[test]
fn all_requests_over_https_go_through_its_proxy() {
    let machine = Machine::trusting(secure(Tls::Both));
    let port = machine.hub.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let (proxy, ports) = tunnels(port);
    let run = |name: &str| -> Run {
        let mut command = machine.command();
        command.env("HF_TOKEN", TOKEN).env(name, &proxy);
        // Only the proxy knows a way there.
        command.env("HF_ENDPOINT", format!("https://127.0.0.1:{NOBODY}")).args(["org/one", "--force"]);
        command.output().unwrap().into()
    };
    for name in ["HTTPS_PROXY", "ALL_PROXY"] {
        ports.lock().unwrap().clear();
        run(name).ends_with(0).says("verified");
        assert!(ports.lock().unwrap().len() >= 2, "the Hub and its CDN: {ports:?}");
    }
    run("HTTP_PROXY").ends_with(4).says("cannot connect");
}

#[test]
fn an_untrusted_certificate_is_reported_without_retries_or_requests() {
    let machine = Machine::on(secure(Tls::Both));
    let mut command = machine.command();
    let run: Run = command.env("HF_TOKEN", TOKEN).arg("org/one").output().unwrap().into();
    let run = run.ends_with(4).says("certificate").says("SSL_CERT_FILE");
    assert!(!run.err.contains("attempt"), "{}", run.err);
    assert_eq!(machine.hub.requests(), []);
}

#[test]
fn a_certificate_of_another_host_is_refused() {
    let machine = Machine::trusting(secure(Tls::Both));
    let elsewhere = machine.hub.endpoint().replace("127.0.0.1", "localhost");
    with_token(&machine, &format!("org/one --endpoint {elsewhere}")).ends_with(4).says("certificate");
    assert_eq!(machine.hub.requests(), []);
}

#[test]
fn a_file_without_certificates_is_wrong_usage() {
    let machine = Machine::on(secure(Tls::Both));
    let file = machine.home.path().join("ca.pem");
    for (content, why) in [
        ("no certificate", "no certificate; the format must be PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "one of its certificates cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "one of its certificates is cut off or not PEM"),
    ] {
        std::fs::write(&file, content).unwrap();
        let run: Run = machine.command().env("SSL_CERT_FILE", &file).arg("org/one").output().unwrap().into();
        run.ends_with(2).says("SSL_CERT_FILE").says("ca.pem").says(why);
    }
}

#[test]
fn a_redirect_out_of_https_is_refused_before_anything_is_sent_there() {
    let machine = Machine::trusting(secure(Tls::HubAlone));
    with_token(&machine, "org/one").ends_with(4).says("it leaves https for http");
    assert!(!machine.hub.requests().iter().any(|r| r.cdn), "{:?}", machine.hub.requests());
    assert!(machine.visible("org/one").keys().all(|name| !name.ends_with("model.safetensors")));
}

/// An address that was pasted with `http://` is another server than the endpoint over HTTPS: it gets no token.
#[test]
fn a_pasted_address_of_the_endpoint_over_plain_http_gets_no_token() {
    let plain = hfget_loopback_hub::Hub::start([fixture(CHATGLM)]);
    let machine = Machine::on(secure(Tls::Both));
    let endpoint = plain.endpoint().replace("http://", "https://");
    let mut command = machine.command();
    command.env("HF_ENDPOINT", &endpoint).env("HF_TOKEN", TOKEN).arg(format!("{}/{CHATGLM}", plain.endpoint()));
    let run = Run::from(command.output().unwrap()).ends_with(0);
    run.says(&format!("the token is not sent to {}: it is for {endpoint}", plain.endpoint()));
    assert!(!plain.requests().is_empty() && plain.requests().iter().all(|request| !request.token));
}
