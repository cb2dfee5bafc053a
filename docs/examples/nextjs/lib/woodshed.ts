// The one place that knows where Woodshed is and with which key: on the server, never in the browser.
import { Woodshed } from "./client";

const { WOODSHED_URL = "http://127.0.0.1:8080", WOODSHED_KEY = "" } = process.env;

export const woodshed = new Woodshed(WOODSHED_URL, WOODSHED_KEY);
