// Rooms in the embeddable client as it is served (HEADCOUNT_JS), on paper: what is sent for which elements and which
// code, in which order, and what is shown.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OPENING, element, load, loadOpen } from "./paper.mjs";

const WATCH = '{"watch":true}';

test("all rooms share one websocket, each is asked for once, and shows its own count and state", () => {
  const elements = [element({ headcount: "/a" }), element({ headcount: "/b" }), element({ headcount: "/a" })];
  const page = loadOpen(elements);
  assert.deepEqual(page.sent(), ["40/a,", "40/b,"]);
  page.world.serve('40/a,{"sid":"x"}', '42/a,["user count",1234]', '42/b,["user count",7]', '42/c,["user count",9]');
  assert.deepEqual(elements.map(({ textContent }) => textContent), [(1234).toLocaleString(), "7", (1234).toLocaleString()]);
  assert.deepEqual(elements.map(({ dataset }) => dataset.headcountState), ["live", "connecting", "live"]);
  // The names of rooms stay what they are, whatever the state.
  assert.deepEqual(elements.map(({ dataset }) => dataset.headcount), ["/a", "/b", "/a"]);
  assert.equal(page.world.sockets.length, 1);
});

test("an element without the name of a room shows the site, and its value is the state", () => {
  const elements = ["", "true", "live", "blog", "./a"].map((headcount) => element({ headcount }));
  const named = element({ headcount: "/" });
  const page = loadOpen([...elements, named]);
  assert.deepEqual(page.sent(), ["40"]);
  page.world.serve('40{"sid":"x"}', '42["user count",3]');
  for (const { dataset, textContent } of elements) {
    assert.deepEqual([dataset.headcount, dataset.headcountState, textContent], ["live", "live", "3"]);
  }
  assert.deepEqual([named.dataset.headcount, named.dataset.headcountState, named.textContent], ["/", "live", "3"]);
});

test("a page that wants rooms only is not counted in the site", () => {
  const page = loadOpen([element({ headcount: "/a" })]);
  page.window.headcount.room("/b", { watch: true });
  assert.deepEqual(page.sent(), ["40/a,", `40/b,${WATCH}`]);
  page.window.headcount().room("/a");
  assert.deepEqual(page.sent(), ["40"]);
  const watching = load();
  watching.window.headcount(undefined, { watch: true });
  watching.world.serve(OPENING);
  assert.deepEqual(watching.world.last().sent, [`40${WATCH}`]);
});

test("without a room to show nothing is opened", () => {
  const page = load();
  page.world.pass(60000);
  assert.equal(page.world.sockets.length, 0);
  page.world.elements.push(element({ headcount: "/a" }));
  page.world.changed();
  assert.equal(page.world.sockets.length, 1);
});

test("a room is watched while nothing wants to be counted in it", () => {
  const watching = element({ headcount: "/a", headcountWatch: "" });
  const page = loadOpen([watching]);
  assert.deepEqual(page.sent(), [`40/a,${WATCH}`]);
  page.world.serve("40/a,{}", '42/a,["user count",1]');
  const room = page.window.headcount.room("/a");
  assert.deepEqual(page.sent(), ["41/a,", "40/a,"]);
  page.world.serve("40/a,{}", '42/a,["user count",2]');
  assert.equal(watching.textContent, "2");
  room.leave();
  assert.deepEqual(page.sent(), ["41/a,", `40/a,${WATCH}`]);
  page.world.serve("40/a,{}");
  delete watching.dataset.headcountWatch;
  page.world.changed();
  assert.deepEqual(page.sent(), ["41/a,", "40/a,"]);
  assert.equal(watching.textContent, "2");
});

test("elements that come, go and change enter and leave their rooms, leaving first", () => {
  const first = element({ headcount: "/a" });
  const page = loadOpen([first]);
  page.world.serve("40/a,{}", '42/a,["user count",5]');
  page.sent();
  const later = element({ headcount: "/a" });
  page.world.elements.push(later);
  page.world.changed();
  // What is known is shown at once.
  assert.deepEqual([later.textContent, later.dataset.headcountState], ["5", "live"]);
  assert.deepEqual(page.sent(), []);
  first.dataset.headcount = "/b";
  later.dataset.headcount = "/c";
  page.world.changed();
  assert.deepEqual(page.sent(), ["41/a,", "40/b,", "40/c,"]);
  // The number of the former room is no number of this one.
  assert.deepEqual([first.textContent, first.dataset.headcountState], ["", "connecting"]);
  page.world.serve("40/b,{}", "40/c,{}");
  page.world.elements.length = 0;
  page.world.changed();
  assert.deepEqual(page.sent(), ["41/b,", "41/c,"]);
});

test("an element in the place of another one keeps the room", () => {
  const page = loadOpen([element({ headcount: "/a" })]);
  page.world.serve("40/a,{}", '42/a,["user count",5]');
  page.sent();
  const other = element({ headcount: "/a" });
  page.world.elements.splice(0, 1, other);
  page.world.changed();
  assert.deepEqual([page.sent(), other.textContent], [[], "5"]);
});

test("a room is left only after it was entered, and not if it was refused", () => {
  const page = loadOpen([element({ headcount: "/a" }), element({ headcount: "/b" }), element({ headcount: "/c" })]);
  page.sent();
  page.world.elements.splice(0, 2);
  page.world.changed();
  assert.deepEqual(page.sent(), []);
  page.world.serve("40/a,{}");
  assert.deepEqual(page.sent(), ["41/a,"]);
  page.world.serve('44/b,{"message":"no"}', "40/c,{}");
  assert.deepEqual(page.sent(), []);
  // After that it may be asked for once more.
  page.world.elements.push(element({ headcount: "/b" }), element({ headcount: "/a" }));
  page.world.changed();
  assert.deepEqual(page.sent(), ["40/b,", "40/a,"]);
});

test("a refusal is told once, and leaves the other rooms alone", () => {
  const elements = [element({ headcount: "/no" }), element({ headcount: "/yes" })];
  const page = loadOpen(elements);
  const states = [];
  page.window.headcount.room("/no").on("state", (state) => states.push(state));
  const refusal = '44/no,{"message":"sorry","data":{"code":"room_not_allowed"}}';
  page.world.serve(refusal, "40/yes,{}", '42/yes,["user count",2]');
  assert.deepEqual(elements.map(({ dataset }) => dataset.headcountState), ["refused", "live"]);
  assert.deepEqual(elements.map(({ textContent }) => textContent), ["", "2"]);
  assert.deepEqual(page.world.warnings, ["headcount: /no room_not_allowed"]);
  page.world.cut();
  assert.deepEqual(elements.map(({ dataset }) => dataset.headcountState), ["refused", "reconnecting"]);
  page.world.pass(500);
  page.world.serve(OPENING);
  assert.deepEqual(page.sent(), ["40/no,", "40/yes,"]);
  page.world.serve(refusal, "40/yes,{}");
  assert.equal(page.world.warnings.length, 1);
  assert.deepEqual(states, ["connecting", "refused"]);
});

test("code is told why a room is refused, also who asks later, and each new reason", () => {
  const page = loadOpen([element({ headcount: "/a" })]);
  const heard = [];
  const refuse = (code) => page.world.serve(`44/a,{"message":"no","data":{"code":"${code}"}}`);
  const returns = () => {
    for (const before = page.world.sockets.length; page.world.sockets.length === before; ) page.world.pass(100);
    page.world.serve(OPENING);
  };
  refuse("token_missing");
  page.window.headcount.room("/a").on("state", (...told) => heard.push(told));
  assert.deepEqual(heard, [["refused", "token_missing"]]);
  for (const code of ["token_missing", "token_expired"]) {
    returns();
    refuse(code);
  }
  returns();
  page.world.serve("40/a,{}");
  assert.deepEqual(heard.slice(1), [["refused", "token_expired"], ["live"]]);
  assert.deepEqual(page.world.warnings, ["headcount: /a token_missing", "headcount: /a token_expired"]);
});

test("a room of the page's own path stays that room when the path changes", () => {
  const page = load({ path: "/one" });
  const own = page.window.headcount.room(".");
  page.window.location.pathname = "/two";
  const heard = [];
  own.on("user count", (users) => heard.push(users));
  page.world.serve(OPENING, '40/one,{}', '42/one,["user count",3]');
  assert.deepEqual([page.world.last().sent, heard], [["40/one,"], [3]]);
});

test("a room that the server ends is asked for again, with all others, by a new connection", () => {
  for (const end of ["41/a,", "41", "1"]) {
    const page = loadOpen([element({ headcount: "/a" }), element({ headcount: "/b" })]);
    page.world.serve("40/a,{}", "40/b,{}", end);
    assert.deepEqual(page.world.elements.map(({ dataset }) => dataset.headcountState), ["reconnecting", "reconnecting"]);
    page.world.pass(500);
    page.world.serve(OPENING);
    assert.deepEqual(page.sent(), ["40/a,", "40/b,"]);
  }
});

test("many changes are looked at once", () => {
  const page = loadOpen([element({ headcount: "/a" })]);
  const before = page.world.looks;
  for (let change = 0; change < 100; change += 1) page.fire(page.window.navigation, "currententrychange");
  page.world.pass(0);
  assert.equal(page.world.looks, before + 1);
});

test("where all is refused, the page asks again after growing waits", () => {
  const page = loadOpen([element({ headcount: "/a" }), element({ headcount: "/b" })]);
  page.world.serve('44/a,{"message":"no"}');
  assert.equal(page.world.last().isClosed, undefined);
  page.world.serve('44/b,{"message":"no"}');
  assert.equal(page.world.last().isClosed, true);
  page.world.pass(499);
  assert.equal(page.world.sockets.length, 1);
  page.world.pass(1);
  page.world.serve(OPENING, "40/a,{}");
  assert.deepEqual(page.world.elements.map(({ dataset }) => dataset.headcountState), ["live", "refused"]);
});

test("a new connection asks for all rooms, in one task", () => {
  const elements = Array.from({ length: 50 }, (_, n) => element({ headcount: `/shoe/${n}`, headcountWatch: "" }));
  const page = loadOpen(elements);
  const asks = elements.map(({ dataset }) => `40${dataset.headcount},${WATCH}`);
  assert.deepEqual(page.sent(), asks);
  page.world.cut();
  page.world.pass(500);
  page.world.serve(OPENING);
  assert.deepEqual(page.sent(), asks);
});

test("a connection without rooms ends with the next ping, and a room opens another one", () => {
  const page = loadOpen([element({ headcount: "/a" })]);
  page.world.serve("40/a,{}", '42/a,["user count",1]');
  page.world.elements.length = 0;
  page.world.changed();
  assert.equal(page.world.last().isClosed, undefined);
  page.world.serve("2");
  assert.equal(page.world.last().isClosed, true);
  for (const [target, name] of [["window", "online"], ["document", "visibilitychange"]]) page.fire(page[target], name);
  page.world.pass(3600000);
  assert.equal(page.world.sockets.length, 1);
  page.world.elements.push(element({ headcount: "/b" }));
  page.world.changed();
  page.world.serve(OPENING);
  assert.deepEqual(page.sent(), ["40/b,"]);
});

test("the page's own path is decoded and has no slash at its end, and no character that no name may contain", () => {
  for (const [path, name] of [
    ["/blog/post-1", "/blog/post-1"],
    ["/blog/post-1/", "/blog/post-1"],
    ["/blog/%E0%B8%81%C3%BC", "/blog/กü"],
    ["/a%2Fb%2Cc%3Fd%23e", "/a%2Fb%2Cc%3Fd%23e"],
    ["/a,b%20c%0Ad%C2%85e%E3%80%80f", "/a%2Cb%20c%0Ad%C2%85e%E3%80%80f"],
    ["/%FF", "/%FF"],
    ["/100%25", "/100%25"],
    ["/a%252Fb", "/a%252Fb"],
  ]) {
    assert.deepEqual(loadOpen([element({ headcount: "." })], { path }).sent(), [`40${name},`], path);
  }
  assert.deepEqual(loadOpen([element({ headcount: "." })], { path: "/" }).sent(), ["40"], "the home page is the site");
  // Names that code or elements give are taken byte by byte, as far as they are names.
  assert.deepEqual(loadOpen([element({ headcount: "/a/ %41,b?#" })]).sent(), ["40/a/%20%41%2Cb%3F%23,"]);
  const page = load();
  page.window.headcount.room("a");
  page.world.serve(OPENING);
  assert.deepEqual(page.world.last().sent, ["40/a,"]);
});

test("a page that changes its path leaves the room of the former one", () => {
  const own = element({ headcount: "." });
  const page = loadOpen([own], { path: "/one" });
  page.world.serve("40/one,{}", '42/one,["user count",5]');
  page.sent();
  page.window.location.pathname = "/two";
  page.fire(page.window.navigation, "currententrychange");
  page.world.pass(0);
  assert.deepEqual([page.sent(), own.textContent], [["41/one,", "40/two,"], ""]);
});

test("code has rooms of its own, leaves them, and closes all", () => {
  const page = load();
  const heard = [];
  const site = page.window.headcount();
  const room = site.room("/a", { watch: true }).on("user count", (users) => heard.push(users));
  page.world.serve(OPENING);
  assert.deepEqual(page.world.last().sent.splice(0), ["40", `40/a,${WATCH}`]);
  page.world.serve("40{}", "40/a,{}", '42/a,["user count",4]', '42["user count",9]');
  room.leave();
  assert.deepEqual(page.world.last().sent.splice(0), ["41/a,"]);
  page.world.serve('42/a,["user count",5]');
  // After that it neither speaks nor returns.
  room.on("user count", (users) => heard.push(users));
  site.room("/c");
  assert.deepEqual(page.world.last().sent.splice(0), ["40/c,"]);
  room.leave();
  assert.deepEqual(heard, [4]);
  const states = [];
  site.room("/b").on("state", (state) => states.push(state));
  site.close();
  assert.deepEqual(states, ["connecting", "closed"]);
  // Elements that come after that show nothing, and say why.
  page.world.elements.push(element({ headcount: "/a" }));
  page.world.pass(0);
  assert.equal(page.world.elements[0].dataset.headcountState, "closed");
  assert.equal(page.world.sockets.length, 1);
});

test("whatever a listener does, the connection stays in order", () => {
  for (const [packets, sockets] of [
    [["40/a,{}"], 1],
    [['44/a,{"message":"no"}'], 1],
    [["40/a,{}", "1"], 1],
  ]) {
    const page = load();
    const states = [];
    const room = page.window.headcount.room("/a");
    page.world.serve(OPENING);
    room.on("state", (state) => states.push(state) > 1 && room.close());
    page.world.serve(...packets);
    page.world.pass(3600000);
    assert.deepEqual([states.length, states.at(-1), page.world.sockets.length], [3, "closed", sockets], packets);
  }
  // A room that is wanted when the connection is lost does not make the page return before its time.
  const page = load();
  page.window.headcount().on("state", (state) => state === "reconnecting" && page.window.headcount.room("/late"));
  page.world.cut();
  page.world.pass(499);
  assert.equal(page.world.sockets.length, 1);
  page.world.pass(1);
  page.world.serve(OPENING);
  assert.deepEqual([page.world.sockets.length, page.world.last().sent], [2, ["40", "40/late,"]]);
});

test("who left before the page went away is not there when it returns", () => {
  const page = loadOpen([element({ headcount: "/a" }), element({ headcount: "/b" })]);
  page.world.serve("40/a,{}", "40/b,{}");
  page.fire(page.window, "pagehide");
  page.world.elements.shift();
  page.world.changed();
  page.fire(page.window, "pageshow");
  page.world.serve(OPENING);
  assert.deepEqual(page.sent(), ["40/b,"]);
});
