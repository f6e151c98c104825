// The switchboard's page: draws the sections that the kernel sends, and sends back which button was pressed.
// All that comes from callers is set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const BUTTONS = [
  ["dial", "Dial", "A new scripted caller dials the listener, and stays on the line"],
  ["silent", "Dial, silent", "A new caller dials, and never says a word"],
  ["ten", "Ten more", "Ten callers dial at once"],
  null,
  ["say", "Say a line", "The chosen caller says a line"],
  ["hang up", "Hang up", "The chosen caller hangs up: its operating system sends FIN"],
  ["reset", "Hang up rudely", "The chosen caller hangs up by a reset: RST"],
];
const NEEDS_CALLER = new Set(["say", "hang up", "reset"]);
const WORDS = {
  accepted: "accepted", connected: "connected", "in line": "in line", knocking: "knocks", reset: "reset", failed: "turned away",
  closed: "has hung up", "has hung up": "has hung up", "hung up on": "was hung up on", "not connected": "not connected",
};
const WAITING = {
  callers: (count) => (count === 1 ? "1 of them waits in a call" : `${count} of them wait in a call`),
  server: (count) => `for ${count} of them a call waits`,
};
const SHOWN_PLACES = 8;
const PATIENCE = 4000; // milliseconds until the page says that nobody answers its buttons
const MOST_MOVING = 12;

function make(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function bytes(count) {
  return `${count.toLocaleString("en")} ${count === 1 ? "byte" : "bytes"}`;
}

/** A number of bytes for where there is little room. */
function short(count) {
  return count < 10_000 ? `${count} B` : `${Math.round(count / 1000).toLocaleString("en")} kB`;
}

function port(address) {
  const at = address.lastIndexOf(":");
  return at < 0 || address.startsWith("unix:") ? address : address.slice(at);
}

/** A curve that leaves one place and comes to the other level; with `on`, the path goes on from where it is. */
function bent(x, y, goal, end, on = false) {
  const bend = Math.max(12, (goal - x) * 0.5);
  const start = on ? "" : `M${x.toFixed(1)} ${y.toFixed(1)}`;
  return `${start}C${(x + bend).toFixed(1)} ${y.toFixed(1)} ${(goal - bend).toFixed(1)} ${end.toFixed(1)} ${goal.toFixed(1)} ${end.toFixed(1)}`;
}

/** Makes `parent` hold one element for each entry, in order, and keeps those that are there (and their focus). */
function keyed(parent, known, entries, create, update) {
  const wanted = new Set(entries.map((entry) => entry.id));
  for (const [id, element] of known) {
    if (!wanted.has(id)) {
      element.remove();
      known.delete(id);
    }
  }
  let next = parent.firstElementChild;
  for (const entry of entries) {
    let element = known.get(entry.id);
    if (!element) known.set(entry.id, (element = create(entry)));
    update(element, entry);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

class View {
  constructor(model, el) {
    this.model = model;
    this.cards = { callers: new Map(), kernel: new Map(), server: new Map() };
    this.entries = new Map(); // all cards' entries by id
    this.lines = new Map();
    this.rolesShown = new Map();
    this.calls = new Map();
    this.counts = new Map(); // bytes sent, by id, as last drawn
    this.chosen = this.pointed = null;
    this.listener = "";
    this.ahead = 0; // how far this clock is ahead of the kernel's, in seconds
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.build(el);
    this.listen();
    this.draw();
    model.send({ do: "clock" });
  }

  build(el) {
    const root = (this.root = make("section", "sb"));
    root.setAttribute("aria-label", "Switchboard");
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the keys for its own
    const bar = make("div", "sb-bar");
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", "What callers are to do");
    this.buttons = new Map();
    this.who = make("span", "sb-who");
    for (const button of BUTTONS) {
      if (!button) {
        bar.append(this.who);
        continue;
      }
      const [act, label, title] = button;
      const made = make("button", "sb-do", label);
      made.type = "button";
      made.title = title;
      made.dataset.do = act;
      made.addEventListener("click", () => this.act(act));
      this.buttons.set(act, made);
      bar.append(made);
    }
    this.told = make("p", "sb-told");
    this.told.setAttribute("role", "status");
    this.roles = make("ul", "sb-roles");
    this.roles.setAttribute("aria-label", "What the roles are at");

    this.field = make("div", "sb-field");
    this.wires = document.createElementNS(SVG, "svg");
    this.wires.setAttribute("class", "sb-wires");
    this.wires.setAttribute("aria-hidden", "true");
    this.labels = make("div", "sb-labels");
    this.labels.setAttribute("aria-hidden", "true");
    this.field.append(this.wires);
    this.columns = {};
    const heads = { callers: "Callers", kernel: "The operating system", server: "The server" };
    const empty = { callers: "Nobody calls yet.", kernel: "Nobody listens yet.", server: "No call was accepted yet." };
    for (const [name, title] of Object.entries(heads)) {
      const column = make("div", `sb-column sb-${name}`);
      column.append(make("h4", "sb-head", title));
      this.columns[name] = make("div", "sb-cards");
      this.columns[name].setAttribute("role", "group");
      this.columns[name].setAttribute("aria-label", title);
      const nobody = make("p", "sb-nobody", empty[name]);
      this.columns[name].nobody = nobody;
      column.append(this.columns[name], nobody);
      this.field.append(column);
    }
    this.field.append(this.labels);

    const below = make("div", "sb-below");
    this.facts = make("div", "sb-facts");
    this.facts.setAttribute("aria-live", "off");
    this.latest = make("ol", "sb-latest");
    const told = make("div", "sb-told-calls");
    told.append(make("h4", "sb-head", "Latest calls, newest first"), this.latest);
    const facts = make("div", "sb-facts-box");
    facts.append(make("h4", "sb-head", "Facts"), this.facts);
    below.append(facts, told);
    root.append(bar, this.told, this.roles, this.field, below);
    el.append(root);
  }

  listen() {
    this.ask = () => {
      if (!this.asked) this.asked = requestAnimationFrame(() => { this.asked = 0; this.draw(); });
    };
    this.clock = (content) => {
      this.answered();
      if (content && content.clock) this.ahead = Date.now() / 1000 - content.clock;
      this.tick();
    };
    this.model.on("change", this.ask);
    this.model.on("msg:custom", this.clock);
    this.sized = new ResizeObserver(() => this.drawWires());
    this.sized.observe(this.field);
    this.timer = setInterval(() => this.tick(), 1000);
  }

  close() {
    this.model.off("change", this.ask);
    this.model.off("msg:custom", this.clock);
    this.sized.disconnect();
    clearInterval(this.timer);
    clearTimeout(this.patience);
    cancelAnimationFrame(this.asked);
  }

  act(act) {
    const caller = this.target();
    if (NEEDS_CALLER.has(act) && !caller) return;
    const who = NEEDS_CALLER.has(act) ? caller.newest || caller.name : "";
    // who hung up stays chosen: pressed twice, the button does not hang up on the next
    this.chosen = act === "hang up" || act === "reset" ? caller.id : NEEDS_CALLER.has(act) ? this.chosen : null;
    this.patience = this.patience || setTimeout(() => this.waitedInVain(), PATIENCE);
    try {
      this.model.send({ do: act, who, to: this.listener });
    } catch {
      this.waitedInVain();
    }
    this.ask();
  }

  answered() {
    clearTimeout(this.patience);
    this.patience = null;
    if (this.alone) this.ask();
    this.alone = false;
  }

  waitedInVain() {
    this.patience = null;
    this.alone = true;
    this.ask();
  }

  /** Who is chosen: the card that was taken last, as long as it is on the line; if none was, the newest caller. */
  target() {
    const callers = this.model.get("callers").filter((card) => card.scripted && card.situation !== "reset");
    return this.chosen ? callers.find((card) => card.id === this.chosen) : callers.at(-1);
  }

  // ------------------------------------------------------------------ drawing

  draw() {
    const { model } = this;
    this.entries.clear();
    for (const name of ["callers", "kernel", "server"]) {
      const entries = model.get(name);
      for (const entry of entries) this.entries.set(entry.id, entry);
      const column = this.columns[name];
      keyed(column, this.cards[name], entries, (entry) => this.newCard(entry), (card, entry) => this.fill(card, entry, name));
      column.nobody.hidden = entries.length > 0;
    }
    const target = this.target();
    for (const [id, card] of this.cards.callers) {
      const chosen = Boolean(target) && id === target.id;
      card.classList.toggle("sb-chosen", chosen);
      if (this.entries.get(id).scripted) card.setAttribute("aria-pressed", String(chosen));
      else card.removeAttribute("aria-pressed");
    }
    const over = model.get("over");
    this.root.classList.toggle("sb-over", over);
    say(this.who, target ? `${target.newest || target.name}:` : "chosen caller:");
    for (const [act, button] of this.buttons) {
      // (aria-disabled keeps the focus where it is)
      const off = over || (NEEDS_CALLER.has(act) && !target) || (act === "say" && target.silent);
      button.setAttribute("aria-disabled", String(Boolean(off)));
    }
    say(this.told, over ? "The stage is over, and so are these calls. Run the notebook's first cells again, and then this one."
      : this.alone ? "No answer: the kernel is busy, or was started anew. Then run the notebook's first cells again, and this one." : model.get("told"));
    keyed(this.roles, this.rolesShown, model.get("roles"), () => this.newRole(), (role, entry) => this.fillRole(role, entry));
    keyed(this.latest, this.calls, model.get("latest"), (call) => {
      const made = make("li");
      made.append(make("span", "sb-by", call.who), make("code", "", call.words));
      made.firstChild.style.setProperty("--sb-role", call.colour);
      return made;
    }, () => {});
    this.showFacts();
    this.tick();
    this.drawWires();
    this.moveBytes();
  }

  newCard(entry) {
    const card = make("button", "sb-card");
    card.type = "button";
    card.dataset.id = entry.id;
    for (const part of ["name", "tag", "state", "situation", "bytes", "unread", "error", "waits"]) {
      card[part + "Part"] = make("span", `sb-part sb-${part}`);
      card.append(card[part + "Part"]);
    }
    card.placesPart = make("span", "sb-places");
    card.append(card.placesPart);
    card.style.setProperty("--sb-role", entry.colour);
    const point = () => { this.pointed = entry.id; this.showFacts(); };
    const leave = () => { if (this.pointed === entry.id) this.pointed = null; this.showFacts(); };
    card.addEventListener("mouseenter", point);
    card.addEventListener("mouseleave", leave);
    card.addEventListener("focus", point);
    card.addEventListener("blur", leave);
    card.addEventListener("click", () => this.choose(entry.id));
    return card;
  }

  choose(id) {
    const entry = this.entries.get(id);
    if (!entry) return;
    if (entry.scripted) this.chosen = id;
    if (entry.backlog !== undefined && entry.backlog !== null) this.listener = id;
    this.ask();
  }

  fill(card, entry, column) {
    const listener = column === "kernel";
    card.dataset.situation = listener ? (entry.closed ? "closed" : "listening") : entry.situation;
    card.classList.toggle("sb-closed", Boolean(entry.closed));
    say(card.namePart, entry.name);
    const tag = entry.silent ? "silent" : listener ? entry.address : entry.count > 1 ? "grouped" : port(entry.local);
    say(card.tagPart, tag);
    say(card.statePart, entry.closed ? `${entry.state} · closed` : entry.state);
    say(card.situationPart, listener ? `backlog ${entry.backlog}` : WORDS[entry.situation] + (entry.closed && entry.situation === "in line" ? ", has hung up" : ""));
    say(card.bytesPart, listener ? "" : [entry.sent ? `sent ${bytes(entry.sent)}` : "", entry.received ? `received ${bytes(entry.received)}` : ""].filter(Boolean).join(" · "));
    say(card.unreadPart, entry.unread ? `${bytes(entry.unread)} unread` : "");
    say(card.errorPart, entry.error ? `✗ ${entry.error}` : "");
    card.waitsPart.dataset.since = entry.since || "";
    card.waitsPart.dataset.words = entry.waits.replace(`${entry.name} `, "") || (entry.waiting ? WAITING[column](entry.waiting) : "");
    for (const part of ["bytes", "unread", "error"]) card[part + "Part"].hidden = !card[part + "Part"].textContent;
    card.waitsPart.hidden = !card.waitsPart.dataset.words;
    card.placesPart.hidden = !listener;
    if (listener) this.fillPlaces(card.placesPart, entry);
  }

  fillPlaces(box, entry) {
    const wanted = JSON.stringify([entry.line, entry.taken, entry.places, entry.knocks, entry.accepted]);
    if (box.wanted === wanted) return;
    box.wanted = wanted;
    const slots = make("span", "sb-slots");
    entry.line.forEach((place, n) => {
      const slot = make("span", "sb-slot sb-taken");
      const name = make("span", "sb-slot-name");
      const number = /^caller (\d+)$/.exec(place.name);
      name.append(...(number ? [make("span", "sb-word", "caller "), number[1]] : [place.name]));
      slot.append(name);
      if (place.unread) slot.append(make("span", "sb-slot-bytes", short(place.unread)));
      slot.title = `place ${n + 1}: ${place.name}${place.unread ? `, ${bytes(place.unread)} unread` : ""}`;
      slots.append(slot);
    });
    const free = entry.places === null ? 0 : Math.max(0, entry.places - entry.taken);
    const room = entry.line.length < SHOWN_PLACES / 2 ? SHOWN_PLACES / 2 : SHOWN_PLACES;
    const shown = Math.max(0, Math.min(free, room - entry.line.length));
    for (let n = 0; n < shown; n++) slots.append(make("span", "sb-slot sb-free", "free"));
    const words = [];
    if (entry.taken > entry.line.length) words.push(`${(entry.taken - entry.line.length).toLocaleString("en")} more in line`);
    if (free > shown) words.push(`${(free - shown).toLocaleString("en")} more free`);
    if (words.length) slots.append(make("span", "sb-more", `… ${words.join(", ")}`));
    const full = entry.places !== null && entry.taken >= entry.places;
    const told = entry.places === null
      ? `queue: ${entry.taken} in line`
      : `queue: ${entry.taken} of ${entry.places.toLocaleString("en")} ${entry.places === 1 ? "place" : "places"} taken${full ? ": full" : ""}`;
    const caption = make("span", full ? "sb-caption sb-full" : "sb-caption", told);
    box.replaceChildren(slots, caption);
    if (entry.knocks) {
      const who = entry.knocks === 1 ? "1 caller knocks: its SYN was dropped, and is sent" : `${entry.knocks} callers knock: their SYNs were dropped, and are sent`;
      box.append(make("span", "sb-caption sb-knocks", `outside: ${who} again`));
    }
    if (entry.accepted) box.append(make("span", "sb-caption", `accepted until now: ${entry.accepted.toLocaleString("en")}`));
  }

  newRole() {
    const made = make("li", "sb-role");
    made.namePart = make("b");
    made.wordsPart = make("span");
    made.saidPart = make("span", "sb-said");
    made.errorPart = make("span", "sb-error");
    made.append(made.namePart, made.wordsPart, made.saidPart, made.errorPart);
    return made;
  }

  fillRole(made, role) {
    made.style.setProperty("--sb-role", role.colour);
    say(made.namePart, role.name);
    made.wordsPart.dataset.words = role.words;
    made.wordsPart.dataset.since = role.since || "";
    made.classList.toggle("sb-waits", role.words.startsWith("waits"));
    say(made.saidPart, role.said ? `has said: ${role.said}` : "");
    say(made.errorPart, role.error ? `✗ ${role.error}` : "");
    made.saidPart.hidden = !role.said;
    made.errorPart.hidden = !role.error;
  }

  /** Counts the seconds of those who wait: the kernel says since when, and no more. */
  tick() {
    const now = Date.now() / 1000 - this.ahead;
    for (const element of this.root.querySelectorAll("[data-words]")) {
      const { words, since } = element.dataset;
      const seconds = Math.max(0, Math.floor(now - Number(since)));
      say(element, since && seconds >= 1 ? `${words}, ${seconds.toLocaleString("en")} s` : words);
    }
  }

  showFacts() {
    const target = this.target();
    const entry = this.entries.get(this.pointed) || (target && this.entries.get(target.id));
    const rows = entry ? this.factsOf(entry) : [];
    const wanted = JSON.stringify(rows);
    if (this.factsShown === wanted) return;
    this.factsShown = wanted;
    if (!rows.length) {
      this.facts.replaceChildren(make("p", "sb-hint", "Point at a card, or go to it with Tab: here are its facts."));
      return;
    }
    const list = make("dl");
    for (const [term, fact] of rows) list.append(make("dt", "", term), make("dd", "", fact));
    this.facts.replaceChildren(make("p", "sb-facts-name", entry.name), list);
  }

  factsOf(entry) {
    if (entry.backlog !== undefined) {
      return [
        ["address", entry.address],
        ["TCP state", entry.state],
        ["descriptor", entry.fd === null ? "closed" : String(entry.fd)],
        ["backlog", String(entry.backlog)],
        ["in line", `${entry.taken}${entry.places === null ? "" : ` of ${entry.places} places`}`],
        ["knocking", String(entry.knocks)],
        ["accepted", String(entry.accepted)],
      ];
    }
    const many = entry.count > 1;
    return [
      many ? ["who", `${entry.names.join(", ")}${entry.count > entry.names.length ? " …" : ""}`] : ["four numbers", `${entry.local || "?"} → ${entry.peer || "?"}`],
      ["TCP state", many ? `${entry.state}, ${entry.count} times` : entry.state],
      ...(many ? [] : [["descriptor", entry.fd === null ? (entry.closed ? "closed" : "not ours") : String(entry.fd)]]),
      ["bytes sent", entry.sent.toLocaleString("en")],
      ["received", entry.received.toLocaleString("en")],
      ...(this.inLine(entry) ? [["in line with", bytes(this.inLine(entry))]] : []),
      ["unread", entry.unread === null ? "not told" : entry.unread.toLocaleString("en")],
      ...(entry.unacked ? [["not confirmed", entry.unacked.toLocaleString("en")]] : []),
      ["situation", `${WORDS[entry.situation]}${entry.waits ? `; ${entry.waits}` : ""}`],
      ...(entry.error ? [["error", entry.error]] : []),
    ];
  }

  /** How many bytes wait with a caller who is in line. */
  inLine(entry) {
    for (const listener of this.model.get("kernel")) {
      for (const place of listener.line) if (place.id === entry.id) return place.unread;
    }
    return 0;
  }

  // ------------------------------------------------------------------ wires

  element(id) {
    return this.cards.callers.get(id) || this.cards.kernel.get(id) || this.cards.server.get(id);
  }

  drawWires() {
    let area = this.field.getBoundingClientRect();
    if (!area.width) return;
    const wires = this.model.get("wires").filter((wire) => this.element(wire.from) && this.element(wire.to));
    const inward = new Map(); // wires that end at the same card end one below the other
    for (const wire of wires) inward.set(wire.to, (inward.get(wire.to) || 0) + 1);
    // A call that was accepted has done with the listener: its wire goes past it, in a lane above.
    const past = wires.filter((wire) => this.cards.server.has(wire.to));
    const step = Math.min(14, 120 / past.length);
    this.field.style.setProperty("--sb-lanes", `${past.length ? past.length * step : 0}px`);
    area = this.field.getBoundingClientRect();
    this.wires.setAttribute("viewBox", `0 0 ${area.width} ${area.height}`);
    const middle = this.columns.kernel.parentElement.getBoundingClientRect();
    const top = middle.top + this.columns.kernel.previousElementSibling.offsetHeight + 14 - area.top;
    const [left, right] = [middle.left - area.left, middle.right - area.left];
    const seen = new Set();
    const used = new Map();
    let lane = 0;
    for (const wire of wires) {
      const from = this.element(wire.from).getBoundingClientRect();
      const to = this.element(wire.to).getBoundingClientRect();
      const count = inward.get(wire.to);
      const nth = used.get(wire.to) || 0;
      used.set(wire.to, nth + 1);
      const x = from.right - area.left;
      const y = from.top - area.top + from.height / 2;
      const gap = Math.min(14, (to.height - 24) / count);
      const knocks = wire.kind === "knocking";
      const goal = to.left - area.left - (knocks ? 18 : 0); // who knocks is not let in
      const end = to.top - area.top + to.height / 2 + (nth - (count - 1) / 2) * gap;
      const d = this.cards.server.has(wire.to)
        ? bent(x, y, left, top + step * lane) + `H${right.toFixed(1)}` + bent(right, top + step * lane++, goal, end, true)
        : bent(x, y, goal, end);
      let line = this.lines.get(wire.id);
      if (!line) {
        line = { path: document.createElementNS(SVG, "path"), end: document.createElementNS(SVG, "path"), label: make("span", "sb-label") };
        this.lines.set(wire.id, line);
        this.wires.append(line.path, line.end);
        this.labels.append(line.label);
      }
      seen.add(wire.id);
      line.d = d;
      line.from = wire.from;
      line.to = wire.to;
      line.path.setAttribute("d", d);
      line.path.setAttribute("class", "sb-wire");
      line.path.dataset.kind = line.end.dataset.kind = line.label.dataset.kind = wire.kind;
      const cross = `M${goal - 6} ${end - 6}l12 12m0 -12l-12 12`;
      const dot = `M${goal - 5} ${end}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0`;
      line.end.setAttribute("class", "sb-wire-end");
      line.end.setAttribute("d", wire.kind === "reset" || knocks ? cross : dot);
      const way = [wire.there ? `${short(wire.there)} →` : "", wire.back ? `← ${short(wire.back)}` : ""].filter(Boolean).join(" ");
      const words = wire.kind !== "knocking" ? wire.kind : wire.count > 1 ? "knock" : "knocks";
      say(line.label, (wire.count > 1 ? `${wire.count} ${words}` : words) + (way ? `\n${way}` : ""));
      line.label.style.transform = `translate(${(x + 7).toFixed(1)}px, ${y.toFixed(1)}px) translateY(-50%)`;
    }
    for (const [id, line] of this.lines) {
      if (seen.has(id)) continue;
      line.path.remove();
      line.end.remove();
      line.label.remove();
      this.lines.delete(id);
    }
  }

  /** Bytes that have been sent since the last drawing go along their wire. */
  moveBytes() {
    for (const [id, entry] of this.entries) {
      if (entry.sent === undefined) continue;
      const before = this.counts.get(id);
      this.counts.set(id, entry.sent);
      if (before === undefined || entry.sent <= before || this.calm.matches || document.hidden) continue;
      if (this.labels.querySelectorAll(".sb-moving").length >= MOST_MOVING) continue;
      const line = [...this.lines.values()].find((each) => each.from === id || each.to === id);
      if (!line) continue;
      const moving = make("span", "sb-moving", short(entry.sent - before));
      moving.style.offsetPath = `path("${line.d}")`;
      moving.style.setProperty("--sb-role", entry.colour);
      this.labels.append(moving);
      const ways = ["0%", "100%"];
      if (line.to === id) ways.reverse();
      const done = () => moving.remove();
      moving.animate({ offsetDistance: ways }, { duration: 900, easing: "ease-in-out" }).finished.then(done, done);
    }
    for (const id of this.counts.keys()) if (!this.entries.has(id)) this.counts.delete(id);
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
