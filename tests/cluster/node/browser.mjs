// A real Chromium, driven by the cluster tests over JSON lines: one order, one answer, in any order.
//
//   {"id": 1, "tab": 0, "do": "open", "url": "http://…", "options": {"colorScheme": "dark"}}
//   {"id": 2, "tab": 0, "do": "evaluate", "script": "document.title"}
//   … "go" (url), "reload", "back", "offline" (offline), "type" (text), "press" (key), "axe", "screenshot" (path),
//   "problems", "sockets", "forget", "close"
// gives {"id": 1, "value": …} or {"id": 1, "error": "…"}. It ends when stdin ends.
//
// What a page complains about is collected per tab: exceptions, console errors and warnings, violations of
// the content security policy. The test decides what of it is allowed.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    // As a stranger points a name of theirs at the visitor's machine.
    "--host-resolver-rules=MAP *.rebound.example 127.0.0.1",
  ],
  // Playwright turns the back/forward cache off by default; here it is one of the things to test.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
});
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tabs = new Map();

// In the page before any script of its own: notes violations, whoever reports them.
function listen() {
  globalThis.violations = [];
  addEventListener("securitypolicyviolation", (event) =>
    globalThis.violations.push(`${event.violatedDirective}: ${event.blockedURI}`),
  );
}

// In the page before any script of its own: notes every text that stood in it when a frame was painted, and whether
// one was before the page had arrived.
function watch() {
  globalThis.painted = new Set();
  requestAnimationFrame(function look() {
    for (const element of document.querySelectorAll("[data-message]")) {
      globalThis.painted.add(element.textContent);
      globalThis.isPaintedEarly ||= document.readyState === "loading";
    }
    requestAnimationFrame(look);
  });
}

function speak(languages) {
  Object.defineProperty(navigator, "languages", { get: () => languages });
}

// Another window of the same profile, opened as scripts of pages do.
async function windowBeside({ context, page }) {
  const opened = context.waitForEvent("page");
  await page.evaluate("void open('about:blank', '_blank', 'popup,width=400,height=300')");
  return opened;
}

// A tab of a new profile, or one beside the tab `beside` in its profile; `window` makes it a window.
//
// Beside Playwright's options: "abort" and "stall" are patterns of addresses that do not load, or load for ever,
// "watch" asks for the texts that were painted, "languages" are those of the visitor, the preferred first, and "without"
// names what the browser does not have, such as WebSocket.
async function open({ tab, beside, window: isWindow, url, options = {} }) {
  const { abort = [], stall = [], watch: isWatched, languages, without = [], ...ofProfile } = options;
  const neighbour = tabs.get(beside);
  const context = neighbour?.context ?? (await browser.newContext(ofProfile));
  if (options.permissions) await context.grantPermissions(options.permissions);
  const page = isWindow ? await windowBeside(neighbour) : await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(`exception: ${error}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`);
  });
  await page.addInitScript(listen);
  if (isWatched) await page.addInitScript(watch);
  if (languages) await page.addInitScript(speak, languages);
  await page.addInitScript((names) => names.forEach((name) => delete globalThis[name]), without);
  for (const pattern of abort) await page.route(pattern, (route) => route.abort());
  for (const pattern of stall) await page.route(pattern, () => {});
  const sockets = [];
  page.on("websocket", (socket) => {
    const seen = { url: socket.url(), sent: [], received: [] };
    sockets.push(seen);
    socket.on("framesent", ({ payload }) => seen.sent.push(payload));
    socket.on("framereceived", ({ payload }) => seen.received.push(payload));
  });
  tabs.set(tab, { context, page, problems, sockets });
  await page.goto(url, { waitUntil: stall.length ? "commit" : "load" });
}

// Rules are those of WCAG 2.2, levels A and AA, and what axe holds to be good practice.
async function check(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

// Clears what the browser has stored for the site of the page, as its user can in the settings.
async function forget(context, page) {
  const session = await context.newCDPSession(page);
  const origin = new URL(page.url()).origin;
  await session.send("Storage.clearDataForOrigin", { origin, storageTypes: "all" });
  await session.detach();
}

async function follow(order) {
  if (order.do === "open") return open(order);
  const { context, page, problems, sockets } = tabs.get(order.tab);
  switch (order.do) {
    case "evaluate":
      return page.evaluate(order.script);
    case "go":
      await page.goto(order.url);
      return;
    case "reload":
      await page.reload();
      return;
    case "back":
      // A page that comes out of the cache is not loaded again, so there is no "load" to wait for.
      await page.goBack({ waitUntil: "commit" });
      return;
    case "offline":
      return context.setOffline(order.offline);
    case "forget":
      return forget(context, page);
    case "type":
      return page.keyboard.type(order.text);
    case "press":
      return page.keyboard.press(order.key);
    case "axe":
      return check(page);
    case "screenshot":
      await page.screenshot({ path: order.path, fullPage: true });
      return;
    case "problems":
      return [...problems, ...(await page.evaluate("globalThis.violations"))];
    case "sockets":
      return sockets;
    case "close":
      tabs.delete(order.tab);
      await page.close();
      if (!context.pages().length) await context.close();
      return;
    default:
      throw new Error(`no such order: ${order.do}`);
  }
}

async function answer(line) {
  const order = JSON.parse(line);
  try {
    const value = (await follow(order)) ?? null;
    process.stdout.write(`${JSON.stringify({ id: order.id, value })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ id: order.id, error: String(error) })}\n`);
  }
}

createInterface({ input: process.stdin })
  .on("line", answer)
  .on("close", async () => {
    await browser.close();
    process.exit(0);
  });
