// Opens pages of `zkinfer report` in headless Chromium, driven through the DevTools protocol over a pipe: no error in the console, no
// request but the page itself, no sideways scrolling, the charts and rows that are expected, names that stay names.
//
// node report_page.mjs CHROMIUM_PACKAGE CACHE EXPECTED.json [SCREENSHOTS]
// CHROMIUM_PACKAGE: the folder of npm's @sparticuz/chromium. CACHE: where it is unpacked once. EXPECTED: a list of
// {file, title, counts: {selector: number}, texts: {selector: text}}.
import { spawn, spawnSync } from "node:child_process";
import { createReadStream, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [packageFolder, cache, expectedFile, screenshots] = process.argv.slice(2);
const VIEWS = [360, 1600].flatMap((width) => ["light", "dark"].map((scheme) => ({ width, scheme })));
const PATIENCE_MS = 60_000;

const failures = [];
const check = (holds, what) => holds || failures.push(what);

/// The browser's program and its libraries, unpacked beside its place and renamed.
async function unpacked() {
  const { version } = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8"));
  const place = join(cache, `chromium-${version}`);
  if (existsSync(place)) return place;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "unpacking-"));
  const unpack = (from, to) => pipeline(createReadStream(join(packageFolder, "bin", from)), createBrotliDecompress(), to);
  await unpack("chromium.br", createWriteStream(join(work, "chromium"), { mode: 0o755 }));
  for (const part of ["al2023.tar.br", "fonts.tar.br", "swiftshader.tar.br"]) {
    const archive = join(work, "part.tar");
    await unpack(part, createWriteStream(archive));
    const { status, stderr } = spawnSync("tar", ["-x", "--no-same-owner", "-f", archive, "-C", work], { encoding: "utf8" });
    if (status !== 0) throw new Error(`tar cannot unpack ${part}: ${stderr}`);
    rmSync(archive);
  }
  try {
    renameSync(work, place);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    if (!existsSync(place)) throw error; // else another test was faster
  }
  return place;
}

/// A browser that answers `send(method, parameters, session)` and calls `heard(method, parameters)` for every event.
function start(folder, profile, libraries, heard) {
  const options = ["--headless=shell", "--no-sandbox", "--no-zygote", "--single-process", "--hide-scrollbars", `--user-data-dir=${profile}`, "--remote-debugging-pipe"];
  const environment = { ...process.env, FONTCONFIG_PATH: join(folder, "fonts") };
  if (libraries) environment.LD_LIBRARY_PATH = join(folder, "lib");
  const browser = spawn(join(folder, "chromium"), options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], env: environment });
  const waiting = new Map();
  let number = 0;
  let rest = "";
  const gone = (why) => waiting.forEach(({ reject }) => reject(new Error(why)));
  browser.on("error", (error) => gone(`the browser does not start: ${error.message}`));
  browser.on("exit", (code) => gone(`the browser ended with ${code}`));
  browser.stdio[3].on("error", () => {});
  browser.stdio[4].on("data", (data) => {
    rest += data;
    const messages = rest.split("\0");
    rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      if (!message.id) heard(message.method, message.params);
      else if (message.error) waiting.get(message.id).reject(new Error(message.error.message));
      else waiting.get(message.id).resolve(message.result);
      waiting.delete(message.id);
    }
  });
  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      waiting.set(++number, { resolve, reject });
      browser.stdio[3].write(JSON.stringify({ id: number, method, params, sessionId }) + "\0");
    });
  return { browser, send };
}

/// What one page looks like in one view.
async function look(send, session, events, page, { width, scheme }) {
  const url = pathToFileURL(page.file).href;
  const where = `${page.file}, ${width} px, ${scheme}`;
  events.length = 0;
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] }, session);
  await send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false }, session);
  const loaded = new Promise((resolve) => (events.loaded = resolve));
  await send("Page.navigate", { url }, session);
  await loaded;
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true }, session);
    if (exceptionDetails) throw new Error(`${where}: ${expression}: ${exceptionDetails.text}`);
    return result.value;
  };
  const seen = await evaluate(`(() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const luminance = (colour) => {
      const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = luminance(getComputedStyle(document.documentElement).backgroundColor);
    const contrast = (selector) => Math.min(99, ...all(selector).map((e) => {
      const style = getComputedStyle(e);
      const ink = luminance(e instanceof SVGElement ? style.fill : style.color);
      return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    }));
    return {
      title: document.title, paper,
      wide: document.documentElement.scrollWidth - window.innerWidth,
      contrast: contrast("h1, p, td:not(.none), th, a:not(.skip, .box), small, summary, svg text, .key"),
      headings: all("h1, h2, h3").map((h) => +h.tagName[1]),
      scripts: all("script, iframe, object, embed, link[rel=stylesheet]").length,
      handlers: all("*").filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
      unnamed: all("svg[role=img]:not([aria-label]), [role=region]:not([aria-label]), table:not(:has(caption, thead))").length,
      broken: all("a[href^='#']").filter((a) => !document.getElementById(a.getAttribute("href").slice(1))).length,
      twice: all("[id]").length - new Set(all("[id]").map((e) => e.id)).size,
      counts: Object.fromEntries(${JSON.stringify(Object.keys(page.counts))}.map((s) => [s, all(s).length])),
      texts: Object.fromEntries(${JSON.stringify(Object.keys(page.texts))}.map((s) => [s, all(s).map((e) => e.textContent).join("\\n")])),
      flat: all("svg.histogram, svg.plot, svg.graph").filter((e) => e.getBoundingClientRect().height < 40).length,
      odd: all("svg path, svg rect, svg a").filter((e) => /NaN|inf/.test(e.outerHTML)).length,
    };
  })()`);
  for (const event of events) failures.push(`${where}: ${event}`);
  check(seen.title === page.title, `${where}: the title is ${seen.title}`);
  check(seen.wide <= 0, `${where}: ${seen.wide} px wider than the window`);
  check(scheme === "dark" ? seen.paper < 0.1 : seen.paper > 0.9, `${where}: the background does not follow the scheme`);
  check(seen.contrast >= 4.5, `${where}: a contrast of ${seen.contrast}`);
  check(seen.headings[0] === 1 && seen.headings.every((level, i) => i === 0 || (level > 1 && level <= seen.headings[i - 1] + 1)), `${where}: headings ${seen.headings}`);
  for (const none of ["scripts", "handlers", "unnamed", "broken", "twice", "flat", "odd"]) check(seen[none] === 0, `${where}: ${none}: ${seen[none]}`);
  for (const [selector, count] of Object.entries(page.counts)) check(seen.counts[selector] === count, `${where}: ${selector}: expected ${count}, got ${seen.counts[selector]}`);
  for (const [selector, text] of Object.entries(page.texts)) check(seen.texts[selector].includes(text), `${where}: ${selector}: expected ${JSON.stringify(text)} in ${JSON.stringify(seen.texts[selector].slice(0, 300))}`);
  await keyboard(send, session, evaluate, where);
  if (screenshots) {
    const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: true }, session);
    writeFileSync(join(screenshots, `${page.title.replace(/\W+/g, "-")}-${width}-${scheme}.png`), Buffer.from(data, "base64"));
  }
}

/// The tabulator reaches a box of the graph, and Enter goes to the line of its layer.
async function keyboard(send, session, evaluate, where) {
  const press = async (key, code) => {
    for (const type of ["rawKeyDown", "char", "keyUp"]) {
      if (type === "char" && key !== "Enter") continue;
      await send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: code, text: key === "Enter" ? "\r" : undefined }, session);
    }
  };
  for (let i = 0; i < 40; i++) {
    await press("Tab", 9);
    if (await evaluate(`document.activeElement.matches("a.box")`)) break;
  }
  const wanted = await evaluate(`document.activeElement.matches("a.box") ? document.activeElement.getAttribute("href") : null`);
  check(wanted !== null, `${where}: the tabulator reaches no box of the graph`);
  await press("Enter", 13);
  check((await evaluate("location.hash")) === wanted, `${where}: Enter on a box does not go to ${wanted}`);
}

async function main() {
  const pages = JSON.parse(readFileSync(expectedFile, "utf8"));
  const folder = await unpacked();
  const profile = mkdtempSync(join(tmpdir(), "zkinfer-report-"));
  const events = [];
  const heard = (method, params) => {
    if (method === "Page.loadEventFired") events.loaded?.();
    else if (method === "Runtime.exceptionThrown") events.push(`exception: ${params.exceptionDetails.text}`);
    else if (method === "Runtime.consoleAPICalled") events.push(`console.${params.type}`);
    else if (method === "Log.entryAdded") events.push(`${params.entry.level}: ${params.entry.text}`);
    else if (method === "Page.javascriptDialogOpening") {
      events.push(`dialog: ${params.message}`);
      events.dismiss?.();
    }
    else if (method === "Network.requestWillBeSent" && !pages.some((page) => params.request.url === pathToFileURL(page.file).href)) {
      // the icon is an empty data URL, so that no browser asks for another
      if (params.request.url !== "data:,") events.push(`request: ${params.request.url.slice(0, 200)}`);
    }
  };
  // the machine's own libraries where it has them, else those of the package
  let started;
  for (const libraries of [false, true]) {
    started = start(folder, profile, libraries, heard);
    try {
      await started.send("Browser.getVersion");
      break;
    } catch (error) {
      if (libraries) throw error;
    }
  }
  const { browser, send } = started;
  let guard;
  const wait = (what) => {
    clearTimeout(guard);
    guard = setTimeout(() => {
      console.error(`${what}: no answer of the browser within ${PATIENCE_MS / 1000} s`);
      browser.kill("SIGKILL");
      process.exit(1);
    }, PATIENCE_MS);
  };
  wait("start");
  try {
    const { targetId } = await send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`, {}, sessionId);
    events.dismiss = () => send("Page.handleJavaScriptDialog", { accept: false }, sessionId).catch(() => {});
    for (const page of pages) {
      for (const view of VIEWS) {
        wait(`${page.file}, ${view.width} px, ${view.scheme}`);
        await look(send, sessionId, events, page, view);
      }
    }
    await send("Browser.close").catch(() => {});
  } finally {
    clearTimeout(guard);
    browser.kill("SIGKILL");
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  for (const failure of failures) console.error(failure);
  console.log(`${pages.length} pages in ${VIEWS.length} views: ${failures.length === 0 ? "as expected" : `${failures.length} failures`}`);
  process.exit(failures.length === 0 ? 0 : 1);
}

await main();
