// Small charts: each statistic that is tested, with its limits.
const WIDTH = 280, HEIGHT = 118, LEFT = 34, BOTTOM = 22, TOP = 8, RIGHT = 6;
const BARS = 36;
const chart = { kind: "histogram" };
const quantile = (values, q) => values[Math.min(values.length - 1, Math.max(0, Math.round(q * (values.length - 1))))];
const CLASSES = [["#7fb8a4", (i) => rankOf(i) === 0], ["#e0a83c", (i) => rankOf(i) === 1], ["#9a7cc7", (i) => rankOf(i) === 2], ["#c2410c", (i) => rankOf(i) === 4]];

// The limits as applied: each bound from its tightest to its widest.
function bounds(found) {
  const span = (column) => {
    const values = found.map((i) => column[i]).filter((v) => v !== null && Number.isFinite(v));
    return values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : null;
  };
  return { low: span(rows.l), high: span(rows.h) };
}

function range(values, limits) {
  const edges = [quantile(values, 0.01), quantile(values, 0.99)];
  // A limit that is far from all values would leave nothing to see of these.
  const width = Math.max(edges[1] - edges[0], 1e-12);
  for (const span of [limits.low, limits.high]) if (span) edges.push(...span.filter((v) => Math.abs(v - (edges[0] + edges[1]) / 2) < 12 * width || width <= 1e-12));
  let low = Math.min(...edges), high = Math.max(...edges);
  if (low === high) { low -= Math.abs(low) / 10 || 0.5; high += Math.abs(high) / 10 || 0.5; }
  const pad = 0.05 * (high - low);
  return [low - pad, high + pad];
}

function ticks(low, high, most) {
  const step0 = (high - low) / most, power = 10 ** Math.floor(Math.log10(step0));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= step0);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push([k * step, places > 5 ? shown(k * step, 3) : (k * step).toFixed(places).replace("-", "−")]);
  return found;
}

function drawLimits(svg, limits, at, vertical) {
  for (const span of [limits.low, limits.high]) {
    if (!span) continue;
    const [a, b] = span.map(at).sort((p, q) => p - q);
    const before = b < (vertical ? LEFT : TOP), after = a > (vertical ? WIDTH - RIGHT : HEIGHT - BOTTOM);
    if (before || after) {
      const text = shown(Math.abs(span[0]) < Math.abs(span[1]) ? span[0] : span[1], 3);
      if (vertical) svg.append(make("text", { x: before ? LEFT + 3 : WIDTH - RIGHT, y: TOP + 7, "text-anchor": before ? "start" : "end", class: "limit" }, before ? `◂ limit ${text}` : `limit ${text} ▸`));
      else svg.append(make("text", { x: WIDTH - RIGHT, y: before ? TOP + 7 : HEIGHT - BOTTOM - 4, "text-anchor": "end", class: "limit" }, `limit ${text} ${before ? "▴" : "▾"}`));
      continue;
    }
    const box = vertical ? { x: a, y: TOP, width: b - a, height: HEIGHT - TOP - BOTTOM } : { x: LEFT, y: a, width: WIDTH - LEFT - RIGHT, height: b - a };
    if (b - a > 0.5) svg.append(make("rect", { ...box, fill: "#22323f", opacity: 0.12 }));
    for (const p of b - a > 0.5 ? [a, b] : [a]) {
      const line = vertical ? { x1: p, x2: p, y1: TOP, y2: HEIGHT - BOTTOM } : { x1: LEFT, x2: WIDTH - RIGHT, y1: p, y2: p };
      svg.append(make("line", { ...line, stroke: "#22323f", "stroke-dasharray": "4 3", "stroke-width": 1, class: "limit" }));
    }
  }
}

function histogram(svg, found, limits) {
  const values = found.map((i) => rows.x[i]).sort((a, b) => a - b);
  const [low, high] = range(values, limits);
  const at = (v) => LEFT + (WIDTH - LEFT - RIGHT) * (v - low) / (high - low);
  const bin = (v) => Math.min(BARS - 1, Math.max(0, Math.floor(BARS * (v - low) / (high - low))));
  const stacks = CLASSES.map(() => new Array(BARS).fill(0));
  for (const i of found) stacks[CLASSES.findIndex(([, is]) => is(i))][bin(rows.x[i])] += 1;
  const total = new Array(BARS).fill(0).map((_, k) => stacks.reduce((sum, stack) => sum + stack[k], 0));
  const most = Math.max(...total);
  const height = (n) => (HEIGHT - TOP - BOTTOM) * n / most;
  const width = (WIDTH - LEFT - RIGHT) / BARS;
  for (let k = 0; k < BARS; k++) {
    let base = HEIGHT - BOTTOM;
    stacks.forEach((stack, c) => {
      if (!stack[k]) return;
      // What fails is seen even if it is one among thousands.
      const h = Math.max(height(stack[k]), 2);
      base -= h;
      svg.append(make("rect", { x: LEFT + k * width + 0.3, y: base, width: width - 0.6, height: h, fill: CLASSES[c][0] }));
    });
  }
  drawLimits(svg, limits, at, true);
  axis(svg, ticks(low, high, 4), at, "x");
  svg.append(make("text", { x: LEFT - 4, y: TOP + 7, "text-anchor": "end" }, String(most)));
  const beyond = values.filter((v) => v < low || v > high).length;
  return beyond ? `${beyond} beyond the axis, in its last bars` : "";
}

function byExposure(svg, found, limits) {
  const values = found.map((i) => rows.x[i]).sort((a, b) => a - b);
  const [low, high] = range(values, limits);
  const at = (v) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (Math.min(high, Math.max(low, v)) - low) / (high - low);
  const numbers = [...new Set(found.map((i) => rows.e[i]))].sort((a, b) => data.exposures[a][0] - data.exposures[b][0]);
  const place = new Map(numbers.map((e, k) => [e, LEFT + (WIDTH - LEFT - RIGHT) * (k + 0.5) / numbers.length]));
  const step = (WIDTH - LEFT - RIGHT) / numbers.length;
  const inside = new Set(unitsInScope().flatMap((u) => data.units[u].inside));
  for (const e of numbers) if (inside.has(e)) svg.append(make("rect", { x: place.get(e) - step / 2, y: TOP, width: step + 0.2, height: HEIGHT - TOP - BOTTOM, fill: "#eef3f7" }));
  drawLimits(svg, limits, (v) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (v - low) / (high - low), false);
  CLASSES.forEach(([stroke, is]) => {
    const d = found.filter(is).map((i) => `M${(place.get(rows.e[i]) + (((rows.a[i] * 7) % 16) / 16 - 0.5) * step * 0.5).toFixed(1)} ${at(rows.x[i]).toFixed(1)}h0`).join("");
    if (d) svg.append(make("path", { d, stroke, "stroke-width": 3, "stroke-linecap": "round", fill: "none", opacity: stroke === "#c2410c" ? 1 : 0.85 }));
  });
  axis(svg, ticks(low, high, 4), at, "y");
  svg.append(make("text", { x: LEFT, y: HEIGHT - 6 }, exposureName(numbers[0])));
  if (numbers.length > 1) svg.append(make("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, exposureName(numbers[numbers.length - 1])));
  return "";
}

function axis(svg, marks, at, which) {
  svg.append(which === "x" ? make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, stroke: "#9aa4ad" }) : make("line", { x1: LEFT, x2: LEFT, y1: TOP, y2: HEIGHT - BOTTOM, stroke: "#9aa4ad" }));
  for (const [mark, label] of marks) {
    const p = at(mark);
    svg.append(which === "x"
      ? make("text", { x: p, y: HEIGHT - BOTTOM + 13, "text-anchor": "middle" }, label)
      : make("text", { x: LEFT - 4, y: p + 3, "text-anchor": "end" }, label));
  }
}

function drawCharts() {
  const box = byId("charts");
  box.hidden = !data.complete || testsInScope().length === 0;
  if (box.hidden) return;
  const groups = new Map();
  for (const i of scopedRows()) {
    const test = testName(rows.s[i]);
    if (test === "" || rows.x[i] === null || !Number.isFinite(rows.x[i])) continue;
    if (!groups.has(test)) groups.set(test, []);
    groups.get(test).push(i);
  }
  const hasExposures = [...groups.values()].some((found) => found.some((i) => !isRun(i)));
  byId("f-chart").hidden = !hasExposures;
  if (!hasExposures) chart.kind = "histogram";
  press("f-chart", chart.kind);
  byId("chart-note").textContent = "Dashed: limits; grey between them, where errors move them. Green passes, red fails, violet is waived, yellow is informational and beyond its limit."
    + (chart.kind === "exposure" ? " One point for each amplifier; shaded: construction exposures. Points beyond the axis are at its edge." : "");
  const ordered = [...groups].sort(([, a], [, b]) => Number(b.some((i) => rankOf(i) === 4)) - Number(a.some((i) => rankOf(i) === 4)));
  box.querySelector(".charts").replaceChildren(...ordered.filter(([, found]) => chart.kind === "histogram" || found.some((i) => !isRun(i))).map(([test, all]) => {
    const found = chart.kind === "histogram" ? all : all.filter((i) => !isRun(i));
    const failing = found.filter((i) => rankOf(i) === 4).length;
    const unit = (all.map((i) => data.specs[rows.s[i]][2]).find((name) => name !== "1")) || "";
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${test}: ${found.length} values, ${failing} fail` });
    const note = (chart.kind === "histogram" ? histogram : byExposure)(svg, found, bounds(found));
    const card = make("div", { class: failing ? "chart failed" : "chart", "data-test": test, title: note || null }, make("h3", {}, test, make("span", {}, ` ${unit ? `/ ${unit}` : ""} · ${found.length} values${failing ? `, ${failing} fail` : ""}`)), svg);
    card.addEventListener("click", () => select({ test }));
    return card;
  }));
}

// Tables that are in the page as they are.
function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => {
    const text = row.cells[column].textContent.trim();
    const value = parseFloat(text);
    return text === "" || text === "–" ? null : head.classList.contains("text") || Number.isNaN(value) ? text : value;
  };
  const lines = [...table.tBodies[0].rows].map((row) => [key(row), row]);
  lines.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : descending ? compare(b, a) : compare(a, b)));
  table.tBodies[0].append(...lines.map(([, row]) => row));
}

function start() {
  const worst = ["fail", "no_data", "waived", "pass"];
  if (several("product")) {
    scope.product = [...data.units].sort((a, b) => worst.indexOf(a.verdict) - worst.indexOf(b.verdict))[0].product;
  }
  for (let i = 0; i < count && filter.show === "tests"; i++) if (isOpen(i)) filter.show = "failures";
  drawScope();
  drawLegend();
  byId("rows").hidden = byId("scope").hidden = false;
  if (plane !== null) {
    for (const figure of document.querySelectorAll(".thumbnail")) outline(figure.querySelector(".frame"), figure.dataset.exposure, false);
  }
  rescope();

  const pressed = (id, target, name, then) => byId(id).addEventListener("click", (event) => {
    if (event.target.dataset.value === undefined) return;
    target[name] = event.target.dataset.value;
    then();
  });
  pressed("f-kind", scope, "kind", rescope);
  pressed("f-show", filter, "show", redraw);
  pressed("f-chart", chart, "kind", drawCharts);
  for (const name of ["product", "filter", "detector"]) byId(`f-${name}`).addEventListener("change", (event) => { scope[name] = event.target.value; rescope(); });
  for (const name of ["test", "amp", "exposure", "verdict"]) byId(`f-${name}`).addEventListener("change", (event) => { filter[name] = event.target.value; redraw(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => { Object.assign(filter, { show: "tests", test: "", amp: "", exposure: "", verdict: "" }); redraw(); });
  byId("previous").addEventListener("click", () => { page -= 1; drawTable(); });
  byId("next").addEventListener("click", () => { page += 1; drawTable(); });
  byId("exposure-test").addEventListener("change", drawExposures);
  byId("plane-test").addEventListener("change", drawPlane);
  byId("plane-what").addEventListener("change", drawPlane);
  const sortBy = (event) => {
    const head = event.target.closest("th[data-sort]");
    if (!head || (event.type === "keydown" && event.key !== "Enter")) return;
    const name = head.dataset.sort;
    Object.assign(order, { column: name, descending: order.column === name && !order.descending });
    page = 0;
    drawTable();
  };
  byId("table").addEventListener("click", sortBy);
  byId("table").addEventListener("keydown", sortBy);
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, k) => cell.addEventListener("click", () => sortTable(table, k)));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("button.link");
    if (link && link.dataset.unit !== undefined) select({ unit: Number(link.dataset.unit) });
    else if (link && link.dataset.exposure !== undefined) select({ exposure: link.dataset.exposure });
    else if (link && link.dataset.test !== undefined) select({ test: link.dataset.test, product: link.dataset.product });
    else if (event.target.closest(".thumbnail .frame")) enlarge(event.target.closest(".frame"));
    else if (event.target.matches(".more")) showPictures(event.target.closest("section"), true);
  });
}
