// The data: rows by column, names by number; see cpflow/report/verification_data.py.
const data = JSON.parse(document.getElementById("data").textContent);
const plane = JSON.parse(document.getElementById("plane").textContent);
const rows = data.rows;
const count = rows.u.length;
const byId = (id) => document.getElementById(id);
const FAIL = data.verdicts.indexOf("fail"), NO_DATA = data.verdicts.indexOf("no_data");
const WAIVED = data.verdicts.indexOf("waived"), INFORMATIONAL = data.verdicts.indexOf("informational");
const REQUIRED = data.severities.indexOf("required");
const PER_PAGE = 100;
const insideOf = data.units.map((unit) => new Set(unit.inside));
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes, ...children) {
  const svg = ["svg", "rect", "path", "line", "text", "g", "title"].includes(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function shown(value, digits = 4) {
  if (value === null) return "";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

const exposureName = (e) => (data.exposures[e][0] < 0 ? "run" : String(data.exposures[e][0]));
const ampName = (a) => data.amps[a] || "(all)";
const testName = (s) => data.specs[s][1];
const isInside = (i) => insideOf[rows.u[i]].has(rows.e[i]);
const isRun = (i) => data.exposures[rows.e[i]][0] < 0;
const kindOf = (i) => (isRun(i) ? "" : isInside(i) ? "construction" : "independent");
const isOpen = (i) => rows.y[i] === REQUIRED && (rows.v[i] === FAIL || rows.v[i] === NO_DATA || rows.v[i] === WAIVED);
const rankOf = (i) => {
  const verdict = rows.v[i];
  if (verdict === FAIL) return 4;
  if (verdict === NO_DATA) return 3;
  if (verdict === WAIVED) return 2;
  return verdict === INFORMATIONAL && rows.m[i] < 0 ? 1 : 0;
};

// What is looked at (maps, charts and rows), and what of it the table shows.
const scope = { product: "", filter: "", detector: "", kind: "" };
const filter = { show: "tests", test: "", amp: "", exposure: "", verdict: "" };
const order = { column: "margin", descending: false };
let page = 0;

function inScope(u) {
  const unit = data.units[u];
  return (scope.product === "" || unit.product === scope.product)
    && (scope.filter === "" || String(unit.filter) === scope.filter)
    && (scope.detector === "" || String(unit.detector) === scope.detector);
}
const unitsInScope = () => data.units.map((_, u) => u).filter(inScope);

function scopedRows() {
  const wanted = data.units.map((_, u) => inScope(u));
  const found = [];
  for (let i = 0; i < count; i++) {
    if (!wanted[rows.u[i]]) continue;
    if (scope.kind !== "" && kindOf(i) !== scope.kind) continue;
    found.push(i);
  }
  return found;
}

function filtered() {
  return scopedRows().filter((i) => {
    if (filter.show === "failures" && !isOpen(i)) return false;
    if (filter.show === "tests" && testName(rows.s[i]) === "") return false;
    if (filter.test !== "" && (testName(rows.s[i]) || data.specs[rows.s[i]][0]) !== filter.test) return false;
    if (filter.amp !== "" && data.amps[rows.a[i]] !== filter.amp.slice(1)) return false;
    if (filter.exposure !== "" && exposureName(rows.e[i]) !== filter.exposure) return false;
    return filter.verdict === "" || data.verdicts[rows.v[i]] === filter.verdict;
  });
}

const marginBar = (margin) => {
  const bar = make("span", { class: "bar" });
  const width = 50 * Math.min(1, Math.abs(margin));
  bar.append(make("i", {
    style: margin < 0
      ? `right:50%;width:${width}%;background:var(--fail)`
      : `left:50%;width:${width}%;background:#7fb8a4`,
  }));
  return bar;
};
const several = (key) => new Set(data.units.map((unit) => String(unit[key]))).size > 1;
const statistic = (i) => data.specs[rows.s[i]][0];
// Name, heading, key to sort by, cell.
const columns = [
  ["product", "product", (i) => data.units[rows.u[i]].product, null, several("product")],
  ["detector", "detector", (i) => data.units[rows.u[i]].detector, null, several("detector")],
  ["filter", "filter", (i) => data.units[rows.u[i]].filter || "", null, several("filter")],
  ["exposure", "exposure", (i) => data.exposures[rows.e[i]][0], (i) => exposureName(rows.e[i]), true],
  ["use", "use", kindOf, null, data.exposures.some((e) => e[0] >= 0)],
  ["amp", "amplifier", (i) => data.amps[rows.a[i]], null, true],
  ["test", "test", (i) => testName(rows.s[i]) || statistic(i), (i) => {
    const test = testName(rows.s[i]);
    return test === "" ? `(${statistic(i)})` : test === statistic(i) ? test : `${test} of ${statistic(i)}`;
  }, true],
  ["value", "value", (i) => rows.x[i], (i) => shown(rows.x[i]), true],
  ["error", "± error", (i) => rows.d[i], (i) => shown(rows.d[i], 2), true],
  ["units", "unit", (i) => data.specs[rows.s[i]][2], (i) => data.specs[rows.s[i]][2].replace(/^1$/, ""), true],
  ["low", "low", (i) => rows.l[i], (i) => shown(rows.l[i]), true],
  ["high", "high", (i) => rows.h[i], (i) => shown(rows.h[i]), true],
  ["margin", "margin", (i) => rows.m[i], (i) => {
    if (rows.m[i] === null) return "";
    const cell = document.createDocumentFragment();
    cell.append(shown(rows.m[i], 3), marginBar(rows.m[i]));
    return cell;
  }, true],
  ["verdict", "verdict", (i) => -rankOf(i), (i) => {
    const verdict = data.verdicts[rows.v[i]];
    return verdict ? make("span", { class: `pill v-${verdict}` }, verdict.replace("_", " ")) : "";
  }, true],
  ["waiver", "waiver", (i) => data.waivers[rows.w[i]], null, data.waivers.length > 1],
].filter((column) => column[4]);
const TEXT = new Set(["product", "filter", "use", "amp", "test", "units", "verdict", "waiver"]);

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined || a === "") return 1;
  if (b === null || b === undefined || b === "") return -1;
  return a < b ? -1 : 1;
}

// What is not known comes last, whichever way it is sorted.
function sorted(found) {
  const key = columns.find((column) => column[0] === order.column)[2];
  const keys = new Map(found.map((i) => [i, key(i)]));
  const unknown = (value) => value === null || value === undefined || value === "";
  return found.sort((i, j) => {
    const [a, b] = [keys.get(i), keys.get(j)];
    if (unknown(a) || unknown(b)) return compare(a, b) || i - j;
    return (order.descending ? compare(b, a) : compare(a, b)) || i - j;
  });
}

function drawTable() {
  const found = sorted(filtered());
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  page = Math.min(page, pages - 1);
  byId("table").tHead.rows[0].replaceChildren(...columns.map(([name, heading]) => make("th", {
    "data-sort": name, class: TEXT.has(name) ? "text" : null, scope: "col", tabindex: 0,
    "aria-sort": name === order.column ? (order.descending ? "descending" : "ascending") : null,
  }, heading)));
  const chosen = found.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  byId("table").tBodies[0].replaceChildren(...chosen.map((i) => make("tr", {
    class: `v-${data.verdicts[rows.v[i]]}`,
  }, ...columns.map(([name, , key, cell]) => {
    const value = (cell || key)(i);
    return make("td", { class: TEXT.has(name) ? "text" : null }, value === null ? "" : value);
  }))));
  const of = data.complete ? count : data.count;
  byId("found").textContent = `${found.length.toLocaleString("en")} of ${of.toLocaleString("en")} rows`
    + (data.complete ? "" : "; this page has only rows that fail or are waived");
  byId("page").textContent = found.length === 0 ? "nothing fits"
    : `${page * PER_PAGE + 1}–${Math.min(found.length, (page + 1) * PER_PAGE)} of ${found.length.toLocaleString("en")}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page === pages - 1;
}

function options(select, values, chosen, all = "all") {
  const listed = [["", all], ...values.map((value) => (Array.isArray(value) ? value : [value, value]))];
  select.replaceChildren(...listed.map(([value, text]) => make("option", { value }, text)));
  select.value = listed.some(([value]) => value === chosen) ? chosen : "";
}

function drawControls() {
  const found = scopedRows();
  const unique = (name) => [...new Set(found.map(name))];
  options(byId("f-test"), unique((i) => testName(rows.s[i]) || statistic(i)), filter.test);
  options(byId("f-amp"), unique((i) => data.amps[rows.a[i]]).map((a) => ["=" + a, a || "(all)"]), filter.amp);
  options(byId("f-exposure"), unique((i) => exposureName(rows.e[i])).sort(), filter.exposure);
  options(byId("f-verdict"), unique((i) => data.verdicts[rows.v[i]]).filter(Boolean).map((v) => [v, v.replace("_", " ")]), filter.verdict);
  for (const name of ["test", "amp", "exposure", "verdict"]) filter[name] = byId(`f-${name}`).value;
  press("f-show", filter.show);
  press("f-kind", scope.kind);
}

function press(id, value) {
  for (const button of byId(id).querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.value === value));
  }
}

function redraw() {
  page = 0;
  drawControls();
  drawTable();
}

function rescope() {
  redraw();
  drawMaps();
  drawCharts();
  for (const section of document.querySelectorAll(".residuals")) showPictures(section);
}

// From a cell, a chart or a name to its rows.
function select(chosen) {
  Object.assign(filter, { show: "tests", test: "", amp: "", exposure: "", verdict: "" });
  const { unit, product, ...rest } = chosen;
  let moved = false;
  if (unit !== undefined && data.units.length > 1) {
    const one = data.units[unit];
    Object.assign(scope, { product: one.product, detector: String(one.detector), filter: several("filter") ? String(one.filter) : "" });
    moved = true;
  } else if (product !== undefined && several("product") && scope.product !== "" && scope.product !== product) {
    scope.product = product;
    moved = true;
  }
  Object.assign(filter, rest);
  if (moved) { drawScope(); rescope(); } else redraw();
  byId("rows").scrollIntoView({ behavior: "instant", block: "start" });
}

function drawScope() {
  for (const name of ["product", "filter", "detector"]) {
    const box = byId(`f-${name}`);
    const known = new Map(data.units.map((unit) => [String(unit[name]), name === "detector" && unit.name ? `${unit.detector} ${unit.name}` : String(unit[name])]));
    options(box, [...known], scope[name]);
    box.parentElement.hidden = known.size < 2;
  }
  const kinds = data.exposures.some((e) => e[0] >= 0) && data.complete;
  byId("f-kind").hidden = !kinds;
}
