// Requests from a list by Node's fetch: `client.mjs LIST`. Names of .test are on this machine.
import dns from "node:dns";
import fs from "node:fs";

const lookup = dns.lookup;
dns.lookup = (host, options, then) => lookup(host.endsWith(".test") ? "127.0.0.1" : host, options, then);

for (const line of fs.readFileSync(process.argv[2], "utf8").trimEnd().split("\n")) {
  const [number, method, url, file] = line.split("\t");
  // Not a Buffer: Node 20 has given its octets away when it comes to repeat them.
  const body = file === "-" ? undefined : new Blob([fs.readFileSync(file)]);
  const answer = await fetch(url, { method, body, redirect: "follow", signal: AbortSignal.timeout(20000) });
  await answer.arrayBuffer();
  console.log([number, answer.status, answer.url].join("\t"));
}
