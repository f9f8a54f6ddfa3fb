use super::*;
use crate::report::fixture::Variant;
use crate::runs::tests::{made_up, results, save};
use crate::schema::conform::assert_conforms;

pub(super) const HOST: Option<&str> = Some("127.0.0.1:8089");
pub(super) const INVALID: &str = "20261122T064012Z-append-3-nemeses";
pub(super) const OF_SUITE: &str = "20261123T010000Z-suite-night%2Fruns%2F20261123T010100Z-append-3-nemeses";

pub(super) fn site(results: &tempfile::TempDir) -> Site {
    Site::new(results.path().to_owned(), Vec::new())
}

/// Status and body.
pub(super) fn get(site: &Site, url: &str) -> (u16, String) {
    let answer = site.answer("GET", url, HOST);
    let body = match answer.body {
        Body::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        Body::File(file, length) => {
            let mut text = String::new();
            file.take(length).read_to_string(&mut text).unwrap();
            text
        }
        Body::Archive { name, .. } => format!("archive of {name}"),
    };
    (answer.status, body)
}

#[test]
fn every_page_is_there_and_says_what_it_should() {
    let results = results();
    let site = site(&results);
    let pages: Vec<(String, Vec<&str>)> = vec![
        (
            "/".to_owned(),
            vec![
                "8 runs in",
                "append × kill-leader",
                "26 acknowledged writes were lost",
                "cut off",
                "broken",
                "<span class=\"within\">20261123T010000Z-suite-night/runs/</span>",
            ],
        ),
        ("/?verdict=invalid".to_owned(), vec!["✗ invalid", INVALID]),
        ("/?verdict=internal".to_owned(), vec!["none of 8 runs is asked for"]),
        ("/?verdict=nonsense".to_owned(), vec!["no run is &quot;nonsense&quot;"]),
        ("/?since=yesterday".to_owned(), vec!["is no moment"]),
        ("/runs.txt".to_owned(), vec!["✗ invalid", "8 runs"]),
        ("/api/runs?workload=append".to_owned(), vec!["\"verdict\": \"invalid\""]),
        (format!("/api/runs/{INVALID}"), vec!["\"anomalies\"", "\"files\""]),
        ("/trend".to_owned(), vec!["Recovery: from the fault", "<svg", "The same as a table"]),
        ("/trend?nemesis=no-such".to_owned(), vec!["No run with a verdict"]),
        (format!("/runs/{INVALID}/"), vec!["✗ invalid", "<iframe", "26 acknowledged writes", "archive.tar.zst"]),
        (format!("/runs/{OF_SUITE}/"), vec!["? unknown", "<iframe"]),
        (format!("/runs/{INVALID}/files/report.html"), vec!["<h1>Invalid</h1>"]),
        (format!("/runs/{INVALID}/files/plan.json"), vec!["\"workload\": \"append\""]),
        (format!("/runs/{INVALID}/logs"), vec!["around 12.09 s", "kill-leader in force", "No daemon wrote anything"]),
        (format!("/runs/{INVALID}/archive.tar.zst"), vec!["archive of 2026"]),
        (format!("/runs/{INVALID}/live"), vec!["It does not go on any more", "isolate-leader", "Controller"]),
        ("/runs/20261123T020000Z-queue-none/".to_owned(), vec!["! cut off", "kchaos conclude", "no report.html"]),
        ("/runs/20261123T030000Z-append-none/".to_owned(), vec!["! broken", "was written by half"]),
        (format!("/compare?run={INVALID}&run=20261121T064012Z-append-3-nemeses"), vec!["are not alike", "is invalid", "figure"]),
        (format!("/api/compare?before=20261121T064012Z-append-3-nemeses&now={INVALID}"), vec!["\"unlike\"", "\"figures\""]),
        ("/style.css".to_owned(), vec!["prefers-color-scheme"]),
    ];
    for (url, words) in pages {
        let (status, body) = get(&site, &url);
        assert_eq!(status, 200, "{url}: {body}");
        for word in words {
            assert!(body.contains(word), "{url} does not say {word}: {body}");
        }
    }
}

#[test]
fn what_programs_are_told_conforms() {
    let results = results();
    let site = site(&results);
    let json = |url: &str| serde_json::from_str::<serde_json::Value>(&get(&site, url).1).unwrap_or_else(|why| panic!("{url}: {why}"));
    let all = json("/api/runs");
    assert_conforms("runs-list", &all);
    for run in all["runs"].as_array().unwrap() {
        assert_conforms("runs-info", &json(&format!("/api/runs/{}", run["id"].as_str().unwrap().replace('/', "%2f"))));
    }
    let compared = "/api/compare?before=20261121T064012Z-append-3-nemeses&now=";
    assert_conforms("compare", &json(&format!("{compared}{INVALID}")));
    for wrong in ["/api/runs?since=yesterday", "/api/runs/nowhere", &format!("{compared}nowhere")] {
        assert_conforms("error", &json(wrong));
    }
}

#[test]
fn what_is_not_there_is_told_and_nothing_outside_a_run_is_given() {
    let results = results();
    let site = site(&results);
    std::fs::write(results.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(results.path().join("secret"), results.path().join(INVALID).join("link")).unwrap();
    let of = |path: &str| format!("/runs/{INVALID}/{path}");
    for (url, status) in [
        ("/nowhere".to_owned(), 404),
        ("/runs/nowhere/".to_owned(), 404),
        ("/runs/..%2f..%2fetc/files/passwd".to_owned(), 404),
        ("/runs/%2e%2e/files/secret".to_owned(), 404),
        ("/runs/notes%20of%20somebody/".to_owned(), 404),
        (of("files/../secret"), 404),
        (of("files/..%2fsecret"), 404),
        (of("files/%2e%2e/secret"), 404),
        (of("files/link"), 404),
        (of("files/"), 404),
        (of("files/plan.json%00"), 400),
        (of("nowhere"), 404),
        ("/compare".to_owned(), 400),
        (format!("/compare?run={INVALID}"), 400),
        ("/compare?run=..&run=/etc".to_owned(), 400),
        (format!("/compare?before={INVALID}&now={INVALID}&fail-on=x"), 400),
        ("/%".to_owned(), 400),
    ] {
        let (found, body) = get(&site, &url);
        assert_eq!(found, status, "{url}");
        assert!(!body.contains("secret") || url.contains("secret"), "{url}: {body}");
    }
    let away = |url: &str| {
        let answer = site.answer("GET", url, HOST);
        let to = answer.headers.iter().find(|(name, _)| *name == "Location").map(|(_, to)| to.clone());
        (answer.status, to.unwrap_or_default())
    };
    assert_eq!(away(&format!("/runs/{INVALID}")), (303, format!("/runs/{INVALID}/")));
    assert_eq!(away("/runs/latest/logs").0, 303);
}

#[test]
fn only_reading_is_answered_and_only_under_our_own_name() {
    let results = results();
    let site = site(&results);
    assert_eq!(site.answer("HEAD", "/", HOST).status, 200);
    assert_eq!(site.answer("another", "/", HOST).status, 405);
    assert_eq!(site.answer("GET", "/", Some("evil.example")).status, 403);
    assert_eq!(site.answer("GET", "/", None).status, 403);
    let named = Site::new(results.path().to_owned(), vec!["lab.example".to_owned()]);
    assert_eq!(named.answer("GET", "/", Some("lab.example:8089")).status, 200);
    for url in ["/", "/nowhere", "/api/runs", &format!("/runs/{INVALID}/files/report.html")] {
        let answer = site.answer("GET", url, HOST);
        let header =
            |name: &str| answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        assert!(header("Content-Security-Policy").starts_with("default-src 'none'"), "{url}");
        assert_eq!(header("X-Content-Type-Options"), "nosniff", "{url}");
        assert_eq!(url.ends_with("report.html"), header("Content-Security-Policy").contains("sandbox allow-scripts"), "{url}");
    }
}

#[test]
fn whatever_a_run_says_is_text() {
    let results = tempfile::tempdir().unwrap();
    let mut data = made_up(Variant::Invalid);
    data.plan.workload = "<script>alert(1)</script>".into();
    data.plan.nemeses = vec!["\"><img src=x>".into()];
    data.verdict.sentence = "<script>alert(2)</script>".into();
    data.plan.facts.insert("cluster".into(), "<b>x</b>".into());
    let name = "20261122T064012Z-<i>'\"&";
    save(&results.path().join(name), data);
    let site = site(&results);
    let id = address::encoded(name);
    for url in [
        "/",
        "/trend",
        &format!("/runs/{id}/"),
        &format!("/runs/{id}/live"),
        &format!("/runs/{id}/logs?host=<x>&zone=\"><x>&at=<x>"),
        "/?since=<script>&verdict=<x>",
        "/<script>",
    ] {
        let (_, body) = get(&site, url);
        for markup in ["<script", "<img", "<i>'", "<x>"] {
            assert!(!body.contains(markup), "{url}: {markup}");
        }
    }
}

#[test]
fn a_server_answers_over_loopback_and_streams_an_archive() {
    use std::io::Write;
    use std::net::TcpStream;
    use std::sync::mpsc::channel;

    let results = results();
    let path = results.path().to_owned();
    let (told, hears) = channel();
    std::thread::spawn(move || serve(Site::new(path, Vec::new()), "127.0.0.1:0".parse().unwrap(), move |at| told.send(at).unwrap()));
    let at = hears.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let page = ask(&format!("GET / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"));
    let page = String::from_utf8_lossy(&page);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<h1>Runs</h1>"), "{page}");
    let head = ask(&format!("HEAD / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"));
    assert!(String::from_utf8_lossy(&head).ends_with("\r\n\r\n"));
    let foreign = ask("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8_lossy(&foreign).starts_with("HTTP/1.1 403"));
    let posted = ask(&format!("POST / HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    assert!(String::from_utf8_lossy(&posted).starts_with("HTTP/1.1 405"));
    // Of HTTP/1.0, so that it is not cut into chunks.
    let archive = ask(&format!("GET /runs/{INVALID}/archive.tar.zst HTTP/1.0\r\nHost: {at}\r\n\r\n"));
    let body = archive.windows(4).position(|four| four == b"\r\n\r\n").map(|end| &archive[end + 4..]).unwrap();
    let unpacked = zstd::decode_all(body).unwrap();
    let names: Vec<String> = tar::Archive::new(unpacked.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.contains(&format!("{INVALID}/plan.json")), "{names:?}");
}
