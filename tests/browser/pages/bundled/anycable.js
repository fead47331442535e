// The same application, built into one file.
import "../anycable.js";
