/** What becomes of a results file: a Markdown page, an HTML page with charts, a comparison. */
import type { Results } from "../results.ts";
import { type MarkdownSource, markdownReport } from "./markdown.ts";
import { reportDocument } from "./sections/index.ts";

export const resultsAsMarkdown = (results: Results, source: MarkdownSource): string =>
  markdownReport(reportDocument(results), source);

/** A whole page. The charting library is loaded here and not before: few commands need it. */
export async function resultsAsHtml(results: Results): Promise<string> {
  const { htmlReport } = await import("./html.ts");
  return htmlReport(results);
}
