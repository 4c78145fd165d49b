/**
 * A report as one HTML file: no scripts, nothing loaded from elsewhere. Charts are SVG; the tables of their section, which
 * they are drawn from, say the same in words and numbers.
 */
import type { Results } from "../results.ts";
import { type Chart, reportCharts } from "./charts/index.ts";
import { numericColumns, type Section, type Table } from "./document.ts";
import { markup } from "./markup.ts";
import { reportDocument } from "./sections/index.ts";
import { style } from "./style.ts";

export function htmlReport(results: Results): string {
  const { title, sections } = reportDocument(results);
  const charts = reportCharts(results);
  const { environment: e, command } = results;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${markup(title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${markup(title)}</h1>
<p><code>${markup(command)}</code>, <time datetime="${markup(e.date)}">${markup(e.date.slice(0, 10))}</time>, ddim-webgpu ${markup(e.version)}${e.commit ? ` (${markup(e.commit)})` : ""}</p>
<nav aria-label="Sections"><ul>${sections.map((s) => `<li><a href="#${s.id}">${markup(s.title)}</a></li>`).join("")}</ul></nav>
</header>
<main>
${sections.map((section) => htmlSection(section, charts.get(section.id) ?? [])).join("\n")}
</main>
</body>
</html>
`;
}

function htmlSection({ id, title, paragraphs, points = [], tables, notes = [] }: Section, charts: readonly Chart[]) {
  const items = (texts: readonly string[]) => texts.map((text) => `<li>${markup(text)}</li>`).join("");
  return [
    `<section id="${id}" aria-labelledby="${id}-title">`,
    `<h2 id="${id}-title">${markup(title)}</h2>`,
    ...paragraphs.map((text) => `<p>${markup(text)}</p>`),
    points.length ? `<ul>${items(points)}</ul>` : "",
    charts.length ? `<div class="charts">${charts.map(figure).join("\n")}</div>` : "",
    ...tables.map(grid),
    notes.length ? `<ul class="notes">${items(notes)}</ul>` : "",
    "</section>",
  ]
    .filter(Boolean)
    .join("\n");
}

function figure({ id, title, caption, wide, svg }: Chart): string {
  const described = svg.replace(
    "<svg",
    `<svg role="img" aria-labelledby="${id}-title" aria-describedby="${id}-caption"`,
  );
  return `<figure id="${id}"${wide ? ' class="wide"' : ""}>
<h3 id="${id}-title">${markup(title)}</h3>
${described}
<figcaption id="${id}-caption">${markup(caption)} The numbers are in this section's tables.</figcaption>
</figure>`;
}

/** Scrolls sideways by itself where it is wider than the page, by keyboard too. */
function grid(table: Table): string {
  const numeric = numericColumns(table);
  const attributes = (c: number) => (numeric[c] ? ' class="number"' : "");
  const head = table.head.map((text, c) => `<th scope="col"${attributes(c)}>${markup(text)}</th>`).join("");
  const lines = table.lines.map((cells) => {
    const [first = "", ...rest] = cells;
    const others = rest.map((text, c) => `<td${attributes(c + 1)}>${markup(text)}</td>`).join("");
    return `<tr><th scope="row">${markup(first)}</th>${others}</tr>`;
  });
  return `<div class="table" role="region" aria-label="${markup(table.caption)}" tabindex="0"><table>
<caption>${markup(table.caption)}</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${lines.join("\n")}
</tbody>
</table></div>`;
}
