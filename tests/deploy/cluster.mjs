// The stack of docker-compose.yml as its visitors and operators see it: right counts through the balancer on both
// transports, while it is scaled, while an instance is killed, and while one drains.
//
// Needs in the environment: COMPOSE, the command with its options; PAGE and PROMETHEUS, the published addresses.
// It prints "ok - …" for each thing shown and ends with exit code 1 at the first that is not so.

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";

const { io } = createRequire(new URL("../cluster/node/", import.meta.url))("socket.io-client");
const run = promisify(execFile);
const { COMPOSE, PAGE, PROMETHEUS } = process.env;
const DEADLINE_MS = 40_000;
const BEGIN = Math.floor(Date.now() / 1000);

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const ok = (text) => console.log(`ok - ${text}`);

async function compose(...args) {
  const [program, ...options] = COMPOSE.split(" ");
  return (await run(program, [...options, ...args])).stdout.trim();
}

async function json(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

/** Waits until `probe` returns no complaint. */
async function until(what, probe, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  let complaint;
  do {
    try {
      complaint = await probe();
    } catch (error) {
      complaint = String(error);
    }
    if (!complaint) return ok(what);
    await sleep(200);
  } while (Date.now() < end);
  throw new Error(`${what}: ${complaint}`);
}

/** Visitors as browsers are: they keep cookies and come back when their connection ends. */
class Visitors {
  all = [];
  errors = [];
  moves = 0;

  add(number, transports) {
    for (let n = 0; n < number; n++) {
      const socket = io(PAGE, {
        transports,
        forceNew: true,
        withCredentials: true,
        reconnectionDelay: 100,
        reconnectionDelayMax: 1000,
      });
      const visitor = { socket, told: undefined, transports };
      socket.on("user count", (count) => (visitor.told = count));
      socket.on("connect_error", (error) => this.errors.push(`${transports}: ${error.message}`));
      socket.on("disconnect", () => this.moves++);
      this.all.push(visitor);
    }
  }

  /** A complaint, unless every visitor is here and was last told `count`. */
  wrong(count) {
    const away = this.all.filter(({ socket }) => !socket.connected).length;
    if (away) return `${away} of ${this.all.length} are not connected; errors: ${this.errors.slice(0, 3)}`;
    const others = this.all.filter(({ told }) => told !== count).map(({ told }) => told);
    if (others.length) return `told ${[...new Set(others)]} rather than ${count}`;
  }

  leave() {
    for (const { socket } of this.all) socket.disconnect();
    this.all = [];
  }
}

/** What Redis holds, as any instance that runs can read it. */
async function status() {
  const [container] = (await compose("ps", "-q", "headcount")).split("\n");
  return JSON.parse((await run("docker", ["exec", container, "headcount", "status", "--json"])).stdout);
}

const query = async (expression) =>
  (await json(`${PROMETHEUS}/api/v1/query?query=${encodeURIComponent(expression)}`)).data.result;

const rightCounts = (what, visitors) =>
  until(what, async () => {
    const count = visitors.all.length;
    const complaint = visitors.wrong(count);
    if (complaint) return complaint;
    const api = await json(`${PAGE}/api/count`);
    if (api.count !== count || !api.exact) return JSON.stringify(api);
  });

async function targets(instances) {
  await until(`Prometheus has found ${instances} instances, and every target is up`, async () => {
    const { data } = await json(`${PROMETHEUS}/api/v1/targets?state=active`);
    const down = data.activeTargets.filter(({ health }) => health !== "up");
    if (down.length) return down.map(({ scrapeUrl, lastError }) => `${scrapeUrl}: ${lastError}`).join();
    const found = data.activeTargets.filter(({ labels }) => labels.job === "headcount").length;
    if (found !== instances) return `found ${found}`;
  });
}

const instances = (number) =>
  until(`${number} instances say that they are alive`, async () => {
    const found = (await status()).instances.length;
    if (found !== number) return `${found} are`;
  });

/** No alert has fired since the beginning, but those named. */
async function silence(when, ...expected) {
  try {
    await run("python", ["tests/deploy/firing.py", PROMETHEUS, String(BEGIN), ...expected]);
  } catch (error) {
    throw new Error(`alerts ${when}: ${error.stdout ?? error}`);
  }
  ok(`no alert fires ${when}`);
}

/** Runs `change`, which sends visitors elsewhere; none may see an error. */
async function gently(what, visitors, change) {
  visitors.errors = [];
  visitors.moves = 0;
  await change();
  await rightCounts(`right counts after ${what}`, visitors);
  if (visitors.errors.length) throw new Error(`${what}: ${visitors.errors.length} errors: ${visitors.errors.slice(0, 5)}`);
  ok(`${what}: ${visitors.moves} visitors moved, none saw an error`);
}

async function main() {
  const page = await (await fetch(PAGE)).text();
  if (!page.includes("client.js")) throw new Error(`the page is not ours: ${page.slice(0, 200)}`);
  ok("the page comes through the balancer");
  await targets(3);

  const visitors = new Visitors();
  visitors.add(30, ["websocket"]);
  visitors.add(30, ["polling"]);
  await rightCounts("right counts for 30 visitors by websocket and 30 by polling", visitors);
  await until("they are spread over all three", async () => {
    const shares = (await status()).instances.map(({ connections }) => connections);
    if (shares.length !== 3 || Math.min(...shares) < 15) return shares.join();
  });

  await compose("up", "-d", "--no-build", "--no-recreate", "--scale", "headcount=5", "headcount");
  await instances(5);
  await targets(5);
  await sleep(4000); // The balancer asks for the addresses each second and needs an answer from each of them.
  visitors.add(20, ["polling", "websocket"]);
  await rightCounts("right counts for 80 visitors, 20 of them by polling and an upgrade", visitors);
  await until("the two new instances have the newest visitors", async () => {
    const shares = (await status()).instances.map(({ connections }) => connections);
    if (Math.min(...shares) < 5) return shares.join();
  });
  await gently("scaling from 5 back to 3", visitors, () =>
    compose("up", "-d", "--no-build", "--no-recreate", "--scale", "headcount=3", "headcount"),
  );
  await instances(3);
  await targets(3);

  const containers = (await compose("ps", "-q", "headcount")).split("\n");
  await gently("a deployment, one instance after the other", visitors, async () => {
    for (const container of containers) {
      await run("docker", ["stop", "--time", "20", container]);
      await run("docker", ["start", container]);
      await instances(3);
      await sleep(4000); // The balancer, as above.
    }
  });
  await targets(3);
  await silence("while all came up, and were scaled and deployed");

  const [victim] = containers;
  await run("docker", ["kill", "--signal", "KILL", victim]);
  await rightCounts("right counts after an instance was killed", visitors);
  await until("the alert of a reaped lease fires", async () => {
    const firing = await query('ALERTS{alertname="HeadcountLeaseReaped", alertstate="firing"}');
    if (!firing.length) return "it does not";
  });
  await run("docker", ["start", victim]);
  await instances(3);
  await targets(3);
  await silence("but that of the instance that was killed", "HeadcountLeaseReaped", "HeadcountInstanceDown");
  visitors.leave();
  await until("nobody is counted when all have left", async () => {
    const { count } = await json(`${PAGE}/api/count`);
    if (count) return `count ${count}`;
  });
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.log(`not ok - ${error.message}`);
  process.exit(1);
}
