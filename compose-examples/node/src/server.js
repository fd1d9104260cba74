import { createServer } from "node:http";
import { greet } from "./greet.js";

const server = createServer((request, response) => {
  const [, first, name] = new URL(request.url, "http://localhost").pathname.split("/");
  if (first !== "" && first !== "greetings") {
    response.writeHead(404).end("There is nothing here.\n");
    return;
  }
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
  response.end(`${greet(decodeURIComponent(name ?? ""))}\n`);
});

server.listen(3000, () => console.log("listening on port 3000"));
// The first process of a container has no default for SIGTERM.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
