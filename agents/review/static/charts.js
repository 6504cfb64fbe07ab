// Charts: each element with data-chart (written by the server) becomes a uPlot of value, expected and band.
(function () {
  "use strict";

  const drawn = new Set();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = (number) => String(number).padStart(2, "0");
  const day = (seconds) => `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}`;

  function clock(seconds, isLong) {
    const at = new Date(seconds * 1000);
    const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}${at.getUTCSeconds() ? ":" + two(at.getUTCSeconds()) : ""}`;
    return isLong ? `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())} ${time}` : time;
  }

  function number(value) {
    if (value === null || value === undefined) return "-";
    const size = Math.abs(value);
    if (size >= 1e15 || (size > 0 && size < 1e-4)) return value.toExponential(2);
    for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (size >= unit) return `${+(value / (name === "k" ? 1e3 : unit)).toPrecision(4)} ${name}`;
    }
    return String(+value.toPrecision(4));
  }

  function marked(data) {
    return (plot) => {
      if (data.from === null || data.until === null) return;
      const left = plot.valToPos(data.from / 1000, "x", true), right = plot.valToPos(data.until / 1000, "x", true);
      const box = plot.bbox, from = Math.max(left, box.left), until = Math.min(Math.max(right, left + 2), box.left + box.width);
      if (until <= from) return;
      plot.ctx.save();
      plot.ctx.fillStyle = colour("--marked");
      plot.ctx.fillRect(from, box.top, until - from, box.height);
      plot.ctx.restore();
    };
  }

  function draw(element) {
    const data = JSON.parse(element.dataset.chart), isDay = element.dataset.axis === "day";
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule"), width: 1 }, font: "12px system-ui, sans-serif" };
    const name = isDay ? day : clock;
    const options = {
      width: Math.max(element.clientWidth, 200), height: element.clientWidth < 500 ? 200 : 260,
      padding: [10, 12, 0, 0], legend: { show: true, live: true }, scales: { x: { time: false } },
      cursor: { drag: { x: false, y: false } },
      axes: [
        { ...axis, values: (_, splits) => splits.map((at) => name(at)), space: 70,
          incrs: isDay ? [3600, 7200, 10800, 21600] : [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800] },
        { ...axis, values: (_, splits) => splits.map(number), size: 58 },
      ],
      series: [
        { label: "time", value: (_, at) => at === null ? "-" : (isDay ? day(at) : clock(at, true)) },
        { label: "upper", stroke: "transparent", points: { show: false }, value: (_, v) => number(v) },
        { label: "lower", stroke: "transparent", points: { show: false }, value: (_, v) => number(v) },
        { label: "expected", stroke: colour("--soft"), width: 1.5, dash: [5, 4], points: { show: false }, value: (_, v) => number(v) },
        { label: "value", stroke: colour("--blue"), width: 2, points: { show: !isDay && data.t.length < 60, size: 5, fill: colour("--blue") }, value: (_, v) => number(v) },
      ],
      bands: [{ series: [1, 2], fill: colour("--band") }],
      hooks: { drawClear: [marked(data)], setCursor: [(plot) => { plot.root.classList.toggle("idle", plot.cursor.idx === null || plot.cursor.idx === undefined); }] },
    };
    element.replaceChildren();
    const columns = [data.t.map((at) => at / 1000), data.upper, data.lower, data.expected, data.value];
    const plot = new uPlot(options, columns, element);
    plot.root.classList.add("idle");
    drawn.add({ element, plot });
  }

  function all(within) {
    drawn.forEach((one) => { if (!one.element.isConnected) { one.plot.destroy(); drawn.delete(one); } });
    (within || document).querySelectorAll("[data-chart]").forEach((element) => {
      if (!element.querySelector(".uplot")) draw(element);
    });
  }

  function again() {
    drawn.forEach((one) => { one.plot.destroy(); });
    drawn.clear();
    all();
  }

  let waiting = null;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(again, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.graftCharts = all;
  all();
})();
