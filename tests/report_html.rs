//! The HTML report in a browser: headless Chromium opens it, clicks, filters, and takes screenshots.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bootling::suite::baseline::compare;
use bootling::suite::report::Attempt;
use bootling::suite::report::CellReport;
use bootling::suite::report::Format;
use bootling::suite::report::Header;
use bootling::suite::report::Part;
use bootling::suite::report::PartResult;
use bootling::suite::report::Report;
use bootling::suite::report::Status;
use bootling::suite::report::Times;
use serde_json::Value;

/// Text that a browser must not interpret.
const HOSTILE: &str = "</script><script>hacked=1</script><img src=x onerror=hacked=2>\"'><b>&lt;";

/// Time limit for a page, also on a slow host.
const LIMIT: Duration = Duration::from_secs(120);

fn cell(test: &str, kernel: &str, machine: &str, status: Status) -> CellReport {
    let passed = status.is_good();
    let cause = (!passed).then(|| format!("it said {HOSTILE}"));
    let attempt = Attempt {
        passed,
        cause: cause.clone(),
        outcome: Some("exited".to_owned()),
        times: Times { start: 0.0, prepared: 0.1, hello: Some(1.5), command: Some(1.6), verdict: 2.0, total: 2.1 },
        stdout: format!("out of {test}: {HOSTILE}"),
        console: vec![format!("[    1.0] {HOSTILE}")],
        parts: vec![Part {
            name: HOSTILE.to_owned(),
            result: PartResult::Skipped,
            detail: HOSTILE.to_owned(),
            expectation: None,
        }],
        ..Attempt::default()
    };
    CellReport {
        id: format!("{test}/{kernel}/{machine}"),
        test: test.to_owned(),
        kernel: kernel.to_owned(),
        machine: machine.to_owned(),
        tags: vec![HOSTILE.to_owned()],
        status,
        cause,
        attempts: if status == Status::NotRun { Vec::new() } else { vec![attempt] },
        repeat: format!("bootling test --only '{test}'"),
        ..CellReport::default()
    }
}

/// Builds a report of two kernels, two machines, three tests, and a test with a hostile name.
fn report() -> Report {
    let mut cells = Vec::new();
    for test in ["boot", "net", "disk"] {
        for kernel in ["6.1", "6.12"] {
            for machine in ["q35", "pc"] {
                let status = match (test, kernel, machine) {
                    ("net", "6.12", _) => Status::Failed,
                    ("disk", "6.1", "pc") => Status::NotRun,
                    _ => Status::Passed,
                };
                cells.push(cell(test, kernel, machine, status));
            }
        }
    }
    cells.push(cell(HOSTILE, "6.1", "q35", Status::Error));
    let header = Header {
        suite: HOSTILE.to_owned(),
        ended_early: Some(HOSTILE.to_owned()),
        started: 1_767_323_045.0,
        duration_s: 8.0,
        ..Header::default()
    };
    Report { header, cells }
}

/// Writes the page, with a script at its end that writes its results into the page.
fn page(directory: &Path, report: &Report, script: &str) -> PathBuf {
    let mut earlier = report.clone();
    for cell in &mut earlier.cells {
        cell.status = Status::Passed;
    }
    let mut html = Vec::new();
    Format::named("html")
        .expect("a format")
        .write(report, Some(&compare(&earlier, report)), &mut html)
        .expect("memory");
    let mut html = String::from_utf8(html).expect("UTF-8");
    if !script.is_empty() {
        let behind = format!(
            "<pre id=result></pre><script>(function(){{var out={{}};{script};\
             document.getElementById('result').textContent=JSON.stringify(out)}})()</script></body>"
        );
        html = html.replace("</body>", &behind);
    }
    let path = directory.join("report.html");
    fs::write(&path, html).expect("a file");
    path
}

/// Runs Chromium on a page; returns its standard output.
fn chromium(directory: &Path, words: &[&str], address: &str) -> String {
    let profile = tempfile::tempdir_in(directory).expect("a directory");
    let mut child = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(words)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium runs");
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let end = Instant::now() + LIMIT;
    while child.try_wait().expect("child process").is_none() {
        if Instant::now() > end {
            // Its child processes end with it.
            child.kill().and_then(|()| child.wait()).expect("child process");
            panic!("chromium {words:?} still running after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    reader.join().expect("a reader").expect("text")
}

/// Returns the results of a script in the page.
fn found(directory: &Path, report: &Report, fragment: &str, script: &str) -> Value {
    let page = page(directory, report, script);
    let dom = chromium(directory, &["--dump-dom"], &format!("file://{}{fragment}", page.display()));
    let (_, result) = dom.split_once("<pre id=\"result\">").unwrap_or_else(|| panic!("no result: {dom}"));
    let (result, _) = result.split_once("</pre>").expect("an end");
    let result = result.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&result).unwrap_or_else(|error| panic!("{error}: {result}"))
}

/// Returns the pixels of a screenshot, still with PNG line filters: sufficient for a comparison.
fn pixels(directory: &Path, words: &[&str], address: &str) -> Vec<u8> {
    let picture = directory.join("picture.png");
    let shot = format!("--screenshot={}", picture.display());
    chromium(directory, &[&[shot.as_str(), "--window-size=1200,900"], words].concat(), address);
    let png = fs::read(&picture).expect("a picture");
    fs::remove_file(&picture).expect("our file");
    let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("a PNG");
    let mut data = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (chunk, behind) = behind.split_at(4 + u32::from_be_bytes(*length) as usize);
        data.extend_from_slice(chunk.strip_prefix(b"IDAT").unwrap_or_default());
        rest = &behind[4..];
    }
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(data.as_slice()).read_to_end(&mut pixels).expect("a PNG");
    pixels
}

#[test]
fn the_grid_has_every_cell_and_a_click_shows_its_details() {
    if !skip::tools("the_grid_has_every_cell_and_a_click_shows_its_details", &["chromium"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = r##"
        var all=function(s){return Array.prototype.slice.call(document.querySelectorAll(s))};
        var shown=function(){return all("article").filter(function(a){return getComputedStyle(a).display!=="none"}).map(function(a){return a.id})};
        out.cells=all(".grid td a").length;
        out.rows=all(".grid tbody tr").length;
        out.heads=all(".grid thead th").map(function(h){return h.textContent});
        out.symbols=all(".grid td a").map(function(a){return a.textContent}).join("");
        out.before=shown();
        var link=all(".grid td a").filter(function(a){return a.getAttribute("href")==="#net/6.12/pc"})[0];
        link.click();
        out.clicked=shown();
        out.hash=location.hash;
        out.story=document.getElementById("net/6.12/pc").textContent;
        document.dispatchEvent(new KeyboardEvent("keydown",{key:"Escape"}));
        out.closed=shown();
        var last=all(".grid td a").pop();
        last.click();
        out.strange=shown();
        last.click();
        document.querySelector("article.open a").click();
        out.shut=shown();
        var visible=function(){return all(".grid td a").filter(function(a){return a.offsetParent&&a.style.visibility!=="hidden"}).length};
        var search=document.querySelector(".tools input");
        search.value="NET 6.12";search.dispatchEvent(new Event("input"));
        out.searched=visible();
        search.value="";search.dispatchEvent(new Event("input"));
        all(".tools button").filter(function(b){return b.dataset.status==="passed"})[0].click();
        out.without_passed=visible();
        out.trouble=all(".trouble tr").length;
        out.compared=document.querySelector(".compared h2").textContent;
        out.wide=document.documentElement.scrollWidth>innerWidth;
        out.resources=performance.getEntriesByType("resource").length;
        out.hacked=typeof hacked;
        out.images=all("img").length+all("b b").length;
    "##;
    let out = found(dir.path(), &report(), "", script);
    assert_eq!((&out["cells"], &out["rows"]), (&13.into(), &4.into()), "{out:#}");
    assert_eq!(out["heads"], serde_json::json!(["test", "6.1", "6.12", "q35", "pc", "q35", "pc"]));
    // The symbols are readable without colors.
    assert_eq!(
        out["symbols"],
        "\u{2713}\u{2713}\u{2713}\u{2713}\u{2713}\u{2713}\u{2717}\u{2717}\u{2713}\u{2013}\u{2713}\u{2713}!"
    );
    assert_eq!(out["before"], serde_json::json!([]));
    assert_eq!((&out["clicked"], &out["hash"]), (&serde_json::json!(["net/6.12/pc"]), &"#net/6.12/pc".into()));
    let story = out["story"].as_str().expect("text");
    for told in ["bootling test --only 'net'", &format!("out of net: {HOSTILE}"), "ran 0.40 s", "[    1.0]"] {
        assert!(story.contains(told), "{told}: {story}");
    }
    assert_eq!((&out["closed"], &out["shut"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(out["strange"], serde_json::json!([format!("{HOSTILE}/6.1/q35")]));
    assert_eq!((&out["searched"], &out["without_passed"]), (&2.into(), &4.into()));
    assert_eq!(out["trouble"], 4);
    assert_eq!(out["compared"], "Compared with the report of 2026-01-02 03:04:05 UTC: 4 newly failing");
    assert_eq!((&out["wide"], &out["resources"], &out["images"]), (&false.into(), &0.into(), &0.into()));
    assert_eq!(out["hacked"], "undefined", "text of a guest was executed");
}

#[test]
fn the_address_of_a_cell_opens_it_with_and_without_scripts() {
    if !skip::tools("the_address_of_a_cell_opens_it_with_and_without_scripts", &["chromium"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = r#"out.shown=Array.prototype.slice.call(document.querySelectorAll("article")).filter(function(a){return getComputedStyle(a).display!=="none"}).map(function(a){return a.id})"#;
    let out = found(dir.path(), &report(), "#disk/6.1/pc", script);
    assert_eq!(out["shown"], serde_json::json!(["disk/6.1/pc"]));
    let page = page(dir.path(), &report(), "");
    let address = format!("file://{}", page.display());
    let with = pixels(dir.path(), &[], &address);
    let html = fs::read_to_string(&page).expect("the page");
    let (before, rest) = html.split_once("<script>").expect("a script");
    let (_, behind) = rest.split_once("</script>").expect("its end");
    fs::write(&page, format!("{before}{behind}")).expect("a file");
    let closed = pixels(dir.path(), &[], &address);
    let opened = pixels(dir.path(), &[], &format!("{address}#net/6.12/pc"));
    assert_ne!(closed, opened, "without scripts the cell is not opened");
    assert_ne!(with, closed, "the filter is visible without scripts");
}

#[test]
fn the_page_has_light_and_dark_colors() {
    if !skip::tools("the_page_has_light_and_dark_colors", &["chromium"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let address = format!("file://{}", page(dir.path(), &report(), "").display());
    let day = pixels(dir.path(), &["--blink-settings=preferredColorScheme=1"], &address);
    let night = pixels(dir.path(), &["--blink-settings=preferredColorScheme=0"], &address);
    for picture in [&day, &night] {
        let mut is_there = [false; 256];
        for byte in picture {
            is_there[usize::from(*byte)] = true;
        }
        assert!(is_there.iter().filter(|there| **there).count() > 64, "an empty picture");
    }
    assert_ne!(day, night);
}

#[test]
fn ten_thousand_cells_load_quickly() {
    if !skip::tools("ten_thousand_cells_load_quickly", &["chromium"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut large = report();
    large.cells = (0..10_000)
        .map(|number| {
            let status = if number % 50 == 7 { Status::Failed } else { Status::Passed };
            let (kernel, machine) = (format!("6.{}", number / 10 % 10), format!("machine-{}", number % 10));
            cell(&format!("test-{}", number / 100), &kernel, &machine, status)
        })
        .collect();
    let script = "out.cells=document.querySelectorAll('.grid td a').length;out.articles=document.querySelectorAll('article').length;\
                  out.ms=performance.now()";
    let out = found(dir.path(), &large, "", script);
    assert_eq!((&out["cells"], &out["articles"]), (&10_000.into(), &10_000.into()), "{out}");
    let size = fs::metadata(dir.path().join("report.html")).expect("the page").len();
    assert!(size < 5_000_000, "{size}");
}

#[test]
fn ten_thousand_different_failures_fit_into_a_page() {
    if !skip::tools("ten_thousand_different_failures_fit_into_a_page", &["chromium"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut large = report();
    large.cells = (0..10_000)
        .map(|number| {
            let (kernel, machine) = (format!("6.{}", number / 10 % 10), format!("machine-{}", number % 10));
            let mut cell = cell(&format!("test-{}", number / 100), &kernel, &machine, Status::Failed);
            let cause = format!("number {number} failed: {HOSTILE} ").repeat(20);
            let attempt = &mut cell.attempts[0];
            (attempt.cause, cell.cause) = (Some(cause.clone()), Some(cause.clone()));
            attempt.console = vec![cause; 2];
            cell.tags = vec!["smoke".to_owned()];
            cell.repeat = format!("bootling test --only {}", cell.id);
            cell
        })
        .collect();
    let script = r##"
        out.articles=document.querySelectorAll("article").length;
        var links=Array.prototype.slice.call(document.querySelectorAll(".grid td a"));
        links.filter(function(a){return a.getAttribute("href")==="#test-47/6.1/machine-1"})[0].click();
        out.told=document.querySelector("article.open .cause").textContent;
        out.repeat=document.querySelector(".repeat").textContent;
        out.notes=Array.prototype.slice.call(document.querySelectorAll(".note")).map(function(n){return n.textContent}).join(" ");
        out.trouble=document.querySelectorAll(".trouble tr").length;
        out.hacked=typeof hacked;
    "##;
    let out = found(dir.path(), &large, "", script);
    assert_eq!((&out["articles"], &out["trouble"], &out["hacked"]), (&10_000.into(), &500.into(), &"undefined".into()));
    let told = out["told"].as_str().expect("text");
    assert!(told.starts_with("number 4711 failed: </script>") && told.ends_with("[...]"), "{told}");
    assert_eq!(out["repeat"], "To repeat a cell without a repeat command: bootling test --only CELL");
    assert!(out["notes"].as_str().expect("text").contains("The JSON Lines report (--jsonl) is complete"), "{out}");
    let size = fs::metadata(dir.path().join("report.html")).expect("the page").len();
    // Much of this text is markup, whose characters take several bytes each.
    assert!(size < 6_000_000, "{size}");
}
