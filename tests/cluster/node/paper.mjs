// A page, a clock and a network made of paper, for the embeddable client as it is served (HEADCOUNT_JS).

import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = readFileSync(process.env.HEADCOUNT_JS, "utf8");
export const OPENING = `0${JSON.stringify({ sid: "s", pingInterval: 25000, pingTimeout: 20000 })}`;

// A window with the script loaded; `random` is what Math.random gives. A test that changes `elements` or `location` tells
// the script with `changed`. `tabs` is the value of the script's attribute data-tabs, and `storage` is what the browser
// keeps for the site, or a function that throws.
export function load({ random = 0, elements = [], path = "/post", tabs, storage = {} } = {}) {
  const world = { now: 0, timers: new Map(), sockets: [], errors: [], warnings: [], looks: 0, elements, tabs };
  const listeners = (target) => {
    target.addEventListener = (name, react) => (target.reacts[name] ??= new Set()).add(react);
    target.removeEventListener = (name, react) => target.reacts[name]?.delete(react);
    target.reacts = {};
    return target;
  };
  const document = listeners({
    readyState: "complete",
    hidden: false,
    currentScript: { src: "https://count.example/headcount.js" },
    querySelectorAll: () => ++world.looks && [...elements],
    querySelector: (selector) => (selector === `script[data-tabs=${world.tabs}]` ? {} : null),
  });
  class WebSocket {
    constructor(url) {
      this.url = String(url);
      this.sent = [];
      world.sockets.push(this);
    }
    send(packet) {
      this.sent.push(packet);
    }
    close() {
      this.isClosed = true;
    }
  }
  let timer = 0;
  const window = listeners({
    document,
    location: { pathname: path, toString: () => `https://blog.example${path}` },
    navigation: listeners({}),
    MutationObserver: class {
      constructor(react) {
        world.changed = () => {
          react();
          world.pass(0);
        };
      }
      observe() {}
    },
    WebSocket,
    URL,
    TextEncoder,
    crypto,
    get localStorage() {
      return typeof storage === "function" ? storage() : storage;
    },
    console: { error: (error) => world.errors.push(error), warn: (...words) => world.warnings.push(words.join(" ")) },
    setTimeout: (then, ms = 0) => world.timers.set(++timer, { at: world.now + ms, then }) && timer,
    clearTimeout: (id) => world.timers.delete(id),
  });
  window.globalThis = window;
  const context = vm.createContext(window);
  vm.runInContext("Math.random = () => " + random, context);
  context.now = () => world.now;
  vm.runInContext("Date.now = () => now()", context);
  vm.runInContext(source, context);
  // Events of the document go on to the window, as those that the script listens to do.
  const fire = (target, name) => {
    for (const at of new Set([target, ...(target === document ? [window] : [])])) {
      [...(at.reacts[name] ?? [])].forEach((react) => react());
    }
  };
  // Lets time pass, timer by timer.
  world.pass = (ms) => {
    const end = world.now + ms;
    for (;;) {
      const due = [...world.timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      world.timers.delete(due[0]);
      world.now = due[1].at;
      due[1].then();
    }
    world.now = end;
  };
  world.last = () => world.sockets.at(-1);
  // What the network does on the newest socket, whether or not the script still listens.
  world.serve = (...packets) => packets.forEach((data) => world.last().onmessage?.({ data }));
  world.cut = () => world.last().onclose?.();
  return { world, window, document, fire };
}

// An element with these data attributes.
export function element(dataset) {
  return { dataset, textContent: "" };
}

// A page with these elements whose connection has opened. `sent` takes what was sent since it was asked last.
export function loadOpen(elements, options) {
  const page = load({ ...options, elements });
  page.world.pass(0);
  page.world.serve(OPENING);
  page.sent = () => page.world.last().sent.splice(0);
  return page;
}

