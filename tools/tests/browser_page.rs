//! The page of `image-du --html` in a real browser: what is shown, what a click does, and what hostile names cannot do.
//!
//! With `LAYERFS_SCREENSHOTS=DIR`, leaves pictures of the page there.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod pages;

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use testkit::chromium::{self, Chromium};
use tools::html::{Page, render};

/// A browser that shows `page`, or a reason printed why there is none.
fn show(page: &Page) -> Option<(Chromium, TempDir)> {
    if !testkit::tier("browser", chromium::installed(), "no /usr/bin/chromium (Debian: chromium)") {
        return None;
    }
    let dir = tempfile::Builder::new().prefix("layerfs-page-").tempdir().unwrap();
    let file = dir.path().join("page.html");
    std::fs::write(&file, render(page)).unwrap();
    let mut browser = Chromium::start(1280, 900);
    browser.prefer("light");
    browser.open(&file);
    browser.wait_for("document.querySelectorAll('.tile').length > 0");
    Some((browser, dir))
}

fn picture(browser: &mut Chromium, name: &str) {
    if let Some(dir) = std::env::var_os("LAYERFS_SCREENSHOTS") {
        std::fs::write(Path::new(&dir).join(name), browser.screenshot()).unwrap();
    }
}

/// The box with this name, as an expression.
fn tile(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.tile .name')].find((name) => name.textContent === {}).parentNode",
        json!(name)
    )
}

/// The row with this name, as an expression.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#rows th')].find((th) => th.querySelector('bdi').textContent === {})",
        json!(name)
    )
}

/// Waits until the node with this name is the open one.
fn opened(browser: &mut Chromium, name: &str) {
    browser.wait_for(&format!("document.querySelector('#path [aria-current]').textContent === {}", json!(name)));
}

const PATH: &str = "[...document.querySelectorAll('#path bdi')].map((name) => name.textContent).join(' > ')";
const FIRST_ROW: &str = "document.querySelector('#rows tr').innerText.replace(/\\s+/g, ' ')";
const ESCAPE: u32 = 27;
const BACKSPACE: u32 = 8;

#[test]
fn a_page_to_click_through() {
    let Some((mut browser, _dir)) = show(&pages::page()) else { return };
    assert_eq!(browser.text("document.title"), "Docker storage on harbour");
    assert_eq!(browser.text(PATH), "/var/lib/docker");
    assert!(browser.text(FIRST_ROW).starts_with("images images 1."), "{}", browser.text(FIRST_ROW));
    let legend = browser.text("document.querySelector('#legend').innerText");
    for kind in ["image", "layer", "container", "volume", "build cache", "orphan"] {
        assert!(legend.lines().any(|line| line.trim() == kind), "{kind} in {legend}");
    }
    picture(&mut browser, "light.png");
    let sums = browser.text("document.querySelector('#sums').innerText");
    assert!(sums.contains("RECLAIMABLE") && sums.contains("1.312GB (83%)") && sums.contains("Build Cache"), "{sums}");
    // Boxes of layers say what made them, and a name that does not fit keeps its end.
    let step = browser
        .eval(&format!("{}.classList.contains('headed')", tile("RUN ./configure --enable-optimizations && make")));
    assert_eq!(step, true);
    let cut = "[...document.querySelectorAll('.tile .name.cut')].map((name) => {
        const [start, end] = [name.querySelector('.start'), name.querySelector('.end')];
        const box = name.closest('.tile').getBoundingClientRect(), tail = end.getBoundingClientRect();
        return tail.right <= box.right + 1 && start.scrollWidth >= start.clientWidth; })";
    assert_eq!(browser.eval(&format!("{cut}.length > 4 && {cut}.every((fits) => fits)")), true);
    // Of an image's name the last part stays; dots say that there is more, also where all of it fits.
    let dots = "[...document.querySelectorAll('.tile .name.cut .before')].map((before) => {
        const start = before.nextSibling;
        return start.textContent ? start.textContent.length > 1
            : getComputedStyle(start, '::before').content.includes('…') && start.clientWidth > 4; })";
    assert_eq!(browser.eval(&format!("{dots}.length > 0 && {dots}.every((said) => said)")), true);

    // The mouse: what is pointed at, in, and out by the path, by keys and by the browser's own way back.
    browser.point_at(&tile("volumes"));
    let tip = browser.text("document.querySelector('#tip').innerText");
    for part in ["volumes", "Allocated", "Apparent", "Files", "Of parent", "Of all"] {
        assert!(tip.contains(part), "{part} in {tip}");
    }
    picture(&mut browser, "tip.png");
    browser.click(&tile("images"));
    opened(&mut browser, "images");
    assert_eq!(browser.eval("document.querySelector('#tip').hidden"), true);
    assert!(browser.text("document.querySelector('#rows').innerText").contains("not itemised"));
    browser.click(&tile("python:3.13"));
    opened(&mut browser, "python:3.13");
    assert_eq!(browser.text(PATH), "/var/lib/docker > images > python:3.13");
    assert_eq!(browser.text("document.title"), "python:3.13 – Docker storage on harbour");
    assert!(browser.text("document.querySelector('#about').innerText").contains("tagged python:3.13"));
    picture(&mut browser, "image.png");
    browser.click("document.querySelector('#path a')");
    opened(&mut browser, "/var/lib/docker");
    browser.eval("history.back()");
    opened(&mut browser, "python:3.13");
    browser.press("Escape", ESCAPE);
    opened(&mut browser, "images");
    browser.press("Backspace", BACKSPACE);
    opened(&mut browser, "/var/lib/docker");
    browser.press("Escape", ESCAPE);
    opened(&mut browser, "/var/lib/docker");

    // A box within a box, and a file: its directory opens.
    browser.click(&tile("shop_pgdata"));
    opened(&mut browser, "shop_pgdata");
    browser.eval("location.hash = 'n999999'");
    opened(&mut browser, "/var/lib/docker");

    // The keyboard.
    browser.eval("document.querySelector('#map').focus()");
    browser.press("ArrowRight", 39);
    assert!(browser.text("document.querySelector('#said').textContent").starts_with("images, images, "));
    browser.press("ArrowRight", 39);
    let said = browser.text("document.querySelector('#said').textContent");
    assert!(said.starts_with("volumes, volume, ") && said.contains("% of /var/lib/docker"), "{said}");
    picture(&mut browser, "keyboard.png");
    let seen = "(() => { const r = document.querySelector('.tile.chosen').getBoundingClientRect();
        return document.elementFromPoint(r.x + 60, r.y + 60).closest('.tile').classList.contains('chosen') })()";
    assert_eq!(browser.eval(seen), false, "what is in the chosen box is still seen");
    browser.press_enter();
    opened(&mut browser, "volumes");
    browser.press("Escape", ESCAPE);
    opened(&mut browser, "/var/lib/docker");

    // What would be freed stands beside what can be removed, and only there.
    assert_eq!(browser.eval("getComputedStyle(document.querySelector('[data-key=unique]')).display"), "none");
    browser.click(&tile("images"));
    opened(&mut browser, "images");
    let freed = browser.text(&format!("{}.parentNode.querySelector('.unique').textContent", row("python:3.13")));
    assert_eq!(freed, "166MB");
    browser.click("document.querySelector('[data-key=unique] button')");
    assert!(browser.text(FIRST_ROW).starts_with("postgres:17"), "{}", browser.text(FIRST_ROW));
    browser.press("Escape", ESCAPE);
    opened(&mut browser, "/var/lib/docker");

    // The table: sorted by a click, opened by a link; the focus stays with the reader.
    browser.click("document.querySelector('[data-key=name] button')");
    assert_eq!(browser.text("document.querySelector('[data-key=name]').getAttribute('aria-sort')"), "ascending");
    assert!(browser.text(FIRST_ROW).starts_with("build cache"));
    browser.click("document.querySelector('[data-key=files] button')");
    assert_eq!(browser.text("document.querySelector('[data-key=files]').getAttribute('aria-sort')"), "descending");
    let files =
        "[...document.querySelectorAll('#rows td:nth-of-type(5)')].map((td) => +td.textContent.replace(',', ''))";
    assert_eq!(browser.eval(&format!("{files}.every((n, i, all) => !i || all[i - 1] >= n)")), true);
    browser.click(&format!("{}.querySelector('a')", row("containers")));
    opened(&mut browser, "containers");
    assert_eq!(browser.text("document.activeElement.id"), "caption");
    browser.eval("history.back()");
    opened(&mut browser, "/var/lib/docker");

    // Sizes by the other measure.
    let images = format!("{}.querySelector('.size').textContent", tile("images"));
    let allocated = browser.text(&images);
    browser.click("document.querySelector('[value=apparent]').nextElementSibling");
    assert_ne!(browser.text(&images), allocated);
    assert_eq!(browser.text("document.querySelector('th.measured').dataset.key"), "apparent");
    browser.click("document.querySelector('[value=allocated]').nextElementSibling");
    assert_eq!(browser.text(&images), allocated);

    // Search.
    browser.press("/", 191);
    browser.type_in("ZONEINFO");
    let found = browser.text("document.querySelector('#found').textContent");
    assert!(found.contains(" found, "), "{found}");
    assert_eq!(browser.eval("document.querySelectorAll('.tile.holds').length > 2"), true);
    assert_eq!(browser.eval("document.querySelectorAll('#rows tr.hit').length > 0"), true);
    picture(&mut browser, "search.png");
    // The hits are listed, the largest first, with where they are; a click goes there.
    let listed = "[...document.querySelectorAll('#hits li')].map((item) => item.innerText.replace(/\\s+/g, ' '))";
    assert_eq!(browser.eval(&format!("{listed}.length")), 12);
    assert!(browser.text(&format!("{listed}[0]")).contains("images / "), "{}", browser.text(&format!("{listed}[0]")));
    let sizes = "[...document.querySelectorAll('#hits .size')].map((size) => parseFloat(size.textContent))";
    assert_eq!(browser.eval(&format!("{sizes}.every((n, i, all) => !i || all[i - 1] >= n)")), true);
    assert!(browser.text("document.querySelector('#hits p').textContent").contains(" more"));
    browser.click("document.querySelectorAll('#hits a')[1]");
    opened(&mut browser, "usr/share");
    assert_eq!(browser.text("document.querySelector('.tile.chosen .name').textContent"), "zoneinfo");
    browser.eval("history.back()");
    opened(&mut browser, "/var/lib/docker");
    browser.eval("document.querySelector('#query').focus()");
    browser.press_enter();
    opened(&mut browser, "usr/share");
    assert_eq!(browser.text("document.querySelector('.tile.chosen .name').textContent"), "zoneinfo");
    browser.press("Escape", ESCAPE);
    assert_eq!(browser.eval("document.querySelectorAll('.tile.holds').length"), 0);
    assert_eq!(browser.eval("document.querySelector('#hits').hidden"), true);
    browser.press("Escape", ESCAPE);

    assert_eq!(browser.complaints(), [] as [serde_json::Value; 0]);
    assert_eq!(browser.events("Network.requestWillBeSent").len(), 1, "the page alone");
}

#[test]
fn hostile_names_are_names() {
    let Some((mut browser, _dir)) = show(&pages::page()) else { return };
    browser.click(&format!("{}.querySelector('a')", row("images")));
    opened(&mut browser, "images");
    browser.click(&format!("{}.querySelector('a')", row("mallory/</title>:1")));
    opened(&mut browser, "mallory/</title>:1");
    browser.click(&format!("{}.querySelector('a')", row("bad0bad0bad0")));
    opened(&mut browser, "bad0bad0bad0");
    for (_, shown) in pages::HOSTILE {
        assert_eq!(browser.text(&format!("{}.querySelector('.note').textContent", row(shown))), shown);
        assert_eq!(browser.text(&format!("{}.querySelector('.name').textContent", tile(shown))), shown);
        browser.point_at(&tile(shown));
        assert_eq!(browser.text("document.querySelector('#tip .name').textContent"), shown);
    }
    picture(&mut browser, "hostile.png");
    assert_eq!(browser.text("typeof window.pwned"), "undefined");
    assert_eq!(browser.eval("document.querySelectorAll('script').length"), 2);
    assert_eq!(browser.eval("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.complaints(), [] as [serde_json::Value; 0]);
    assert_eq!(browser.events("Network.requestWillBeSent").len(), 1, "the page alone");

    // The policy holds: even a script that got in would not run, and nothing can be asked of the network.
    let refused = "(() => { const s = document.createElement('script'); s.append('window.pwned=1');
        try { document.head.append(s) } catch {} return typeof window.pwned })()";
    assert_eq!(browser.text(refused), "undefined");
    let refused = "(() => { try { document.body.innerHTML = '<b>'; return 'done' } catch (e) { return e.name } })()";
    assert_eq!(browser.text(refused), "TypeError");
    assert_eq!(browser.text("fetch('data:,x').then(() => 'fetched', (e) => e.name)"), "TypeError");
    assert!(browser.complaints().len() >= 3, "a breach of the policy would have been seen above");
}

#[test]
fn dark_narrow_and_on_paper() {
    let Some((mut browser, _dir)) = show(&pages::page()) else { return };
    let paper = "getComputedStyle(document.documentElement).backgroundColor";
    let light = browser.text(paper);
    browser.prefer("dark");
    assert_ne!(browser.text(paper), light);
    picture(&mut browser, "dark.png");
    browser.click(&tile("images"));
    opened(&mut browser, "images");
    picture(&mut browser, "dark-images.png");
    for (width, name) in [(390, "narrow.png"), (320, "narrowest.png")] {
        browser.resize(width, 844);
        browser.wait_for("document.querySelector('#map').clientWidth < 380");
        picture(&mut browser, name);
        let wide = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.eval(wide), 0, "nothing is cut off at {width}");
        let freed = format!("{}.querySelector('.freed').innerText", row("python:3.13"));
        assert_eq!(browser.text(&freed), "166MB freed if removed");
        let outside = "[...document.querySelectorAll('.tile')].filter((t) => t.offsetLeft + t.offsetWidth >
            document.querySelector('#map').clientWidth + 1).length";
        browser.wait_for(&format!("{outside} === 0"));
        // The end of a name is in its box, where dots stand for what of it is not.
        let lost = "[...document.querySelectorAll('.tile .name.cut')].filter((name) => {
            const end = name.querySelector('.end'), room = name.getBoundingClientRect();
            return end.textContent && end.getBoundingClientRect().right > room.right + 1; })
            .map((name) => name.textContent).join()";
        assert_eq!(browser.text(lost), "", "at {width}");
        let broken = "[...document.querySelectorAll('#sums th, #sums td')].filter((cell) => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return !/\\s/.test(cell.textContent.trim()) && range.getClientRects().length > 1; })
            .map((cell) => cell.textContent).join()";
        assert_eq!(browser.text(broken), "", "words are whole at {width}");
    }
    assert!(browser.print().starts_with(b"%PDF"));
    browser.resize(720, 1000);
    browser.on_paper();
    browser.wait_for("document.querySelector('#map').clientWidth === 680");
    assert_eq!(browser.eval("document.querySelector('#search').offsetHeight"), 0);
    picture(&mut browser, "paper.png");
    assert_eq!(browser.complaints(), [] as [serde_json::Value; 0]);
}

#[test]
fn twenty_thousand_files() {
    let Some((mut browser, _dir)) = show(&pages::many()) else { return };
    let drawn = browser.eval("document.querySelectorAll('.tile').length").as_u64().unwrap();
    assert!((40..=900).contains(&drawn), "{drawn}");
    assert_eq!(browser.eval("document.querySelectorAll('#rows tr').length"), 200);
    let took = browser.eval("(() => { const start = performance.now(); show(); return performance.now() - start })()");
    assert!(took.as_f64().unwrap() < 1000.0, "{took} ms");
    picture(&mut browser, "many.png");
    browser.click("[...document.querySelectorAll('.tile')].find((tile) => tile.textContent.includes('smaller'))");
    browser.wait_for("/smaller$/.test(document.querySelector('#path [aria-current]').textContent)");
    assert_eq!(browser.eval("/^#n0-\\d+$/.test(location.hash)"), true);
    picture(&mut browser, "smaller.png");
    browser.click("document.querySelector('#more button')");
    assert_eq!(browser.eval("document.querySelectorAll('#rows tr').length > 15000"), true);
    browser.press("Escape", ESCAPE);
    opened(&mut browser, "many");
    assert_eq!(browser.complaints(), [] as [serde_json::Value; 0]);
}
