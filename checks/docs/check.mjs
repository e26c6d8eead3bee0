// Opens /docs as a visitor would: no error on the console, every operation listed, the demo key filled
// in, and "Try it out" shows offerings.

import { chromium } from "playwright-core";

const [url, browserPath, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const fail = (message) => {
  throw new Error(message);
};
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const host = new URL(request.url()).host;
    if (host && host !== new URL(url).host) complaints.push(`asks ${host} for ${request.url()}`);
  });
  await page.goto(`${url}/docs`);
  await page.waitForSelector(".opblock");
  const operations = await page.$$eval(".opblock-summary-path", (paths) => paths.map((path) => path.dataset.path));
  if (operations.length !== 8) fail(`8 operations expected: ${operations}`);
  await page.click("#operations-Offerings-listOfferings .opblock-summary");
  await page.click("#operations-Offerings-listOfferings .execute");
  const reply = page.locator("#operations-Offerings-listOfferings .live-responses-table");
  await reply.waitFor();
  const text = await reply.innerText();
  if (!text.includes("200") || !text.includes("productOfferingId")) fail(`no offerings:\n${text.slice(0, 2000)}`);
  await page.locator("#operations-Offerings-listOfferings").scrollIntoViewIfNeeded();
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: false });
  // With the other kind of key, too.
  await page.click("#operations-Networks-listCountries .opblock-summary");
  await page.click("#operations-Networks-listCountries .execute");
  const countries = page.locator("#operations-Networks-listCountries .live-responses-table");
  await countries.waitFor();
  if (!(await countries.innerText()).includes("network_count")) fail("no countries");
  if (complaints.length) fail(`the page complains:\n${complaints.join("\n")}`);
  console.log(`8 operations listed, "Try it out" shows offerings and countries, nothing on the console.`);
} finally {
  await browser.close();
}
