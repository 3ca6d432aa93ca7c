/* A prototype of a native decoder: bare JSON predictions straight into columns.
 *
 * Measured beside the worker's own way by `python -m benchmarks native`; no part of the product. It takes what a
 * prediction nearly always is (ids without escapes, a number as output, numbers as features) and gives up on a whole
 * slice otherwise, as core/bulk.py does.
 */
#include <Python.h>
#include <string.h>

static const double POWER[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Exact where 53 bits hold the digits and 10^22 the exponent (Clinger 1990); else the C library's. */
static const char *number(const char *p, double *found) {
    const char *begin = p;
    int is_negative = *p == '-', digits = 0, scale = 0, exponent = 0;
    unsigned long long mantissa = 0;
    p += is_negative;
    const char *first = p;
    for (; *p >= '0' && *p <= '9'; p++, digits += mantissa != 0) mantissa = mantissa * 10 + (*p - '0');
    if (p == first || (*first == '0' && p > first + 1)) return NULL;
    if (*p == '.') {
        const char *point = ++p;
        for (; *p >= '0' && *p <= '9'; p++, digits += mantissa != 0) mantissa = mantissa * 10 + (*p - '0');
        if (p == point) return NULL;
        scale = (int)(p - point);
    }
    if (*p == 'e' || *p == 'E') {
        char sign = *++p;
        if (sign == '-' || sign == '+') p++;
        if (*p < '0' || *p > '9') return NULL;
        for (; *p >= '0' && *p <= '9'; p++)
            if (exponent < 1000) exponent = exponent * 10 + (*p - '0');
        if (sign == '-') exponent = -exponent;
    }
    exponent -= scale;
    if (digits <= 15 && exponent >= -22 && exponent <= 22) {
        double value = exponent < 0 ? (double)mantissa / POWER[-exponent] : (double)mantissa * POWER[exponent];
        *found = is_negative ? -value : value;
    } else {
        *found = strtod(begin, NULL);
    }
    return p;
}

/* Return the end of a plain text and set where it begins; NULL: escapes, control characters or more than ASCII. */
static const char *text(const char *p, const char **begin) {
    if (*p++ != '"') return NULL;
    *begin = p;
    while (*p != '"')
        if (*p == '\\' || (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x80) return NULL;
        else p++;
    return p;
}

static int is_key(const char *begin, const char *end, const char *name) {
    size_t size = strlen(name);
    return (size_t)(end - begin) == size && !memcmp(begin, name, size);
}

/* Fill the columns from bodies: the series of each by its model, its id, output and features. -1: go another way. */
PyObject *decode(PyObject *bodies, PyObject *series_of, long long *series, PyObject *ids, double *outputs,
                 double *features, long width) {
    Py_ssize_t count = PyList_GET_SIZE(bodies);
    for (Py_ssize_t n = 0; n < count; n++) {
        const char *p = PyBytes_AS_STRING(PyList_GET_ITEM(bodies, n)), *begin, *end; /* ends with a 0 */
        int seen = 0;
        if (*p++ != '{') return PyLong_FromLong(-1);
        for (;;) {
            if (!(end = text(p, &begin)) || end[1] != ':') return PyLong_FromLong(-1);
            p = end + 2;
            if (is_key(begin, end, "features")) {
                if (*p++ != '[') return PyLong_FromLong(-1);
                for (long place = 0; place < width; place++) {
                    if (!(p = number(p, &features[n * width + place]))) return PyLong_FromLong(-1);
                    if (*p++ != (place + 1 < width ? ',' : ']')) return PyLong_FromLong(-1);
                }
                seen |= 1;
            } else if (is_key(begin, end, "output")) {
                if (!(p = number(p, &outputs[n]))) return PyLong_FromLong(-1);
                seen |= 2;
            } else if (is_key(begin, end, "prediction_id")) {
                if (!(p = text(p, &begin))) return PyLong_FromLong(-1);
                PyObject *id = PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, begin, p++ - begin);
                if (!id || PyList_SetItem(ids, n, id)) return NULL;
                seen |= 4;
            } else if (is_key(begin, end, "model_id")) {
                if (!(p = text(p, &begin))) return PyLong_FromLong(-1);
                PyObject *key = PyBytes_FromStringAndSize(begin, p++ - begin);
                PyObject *row = key ? PyDict_GetItem(series_of, key) : NULL;
                Py_XDECREF(key);
                if (!row) return PyLong_FromLong(-1);
                series[n] = PyLong_AsLongLong(row);
                seen |= 8;
            } else {
                return PyLong_FromLong(-1);
            }
            if (*p == '}') break;
            if (*p++ != ',') return PyLong_FromLong(-1);
        }
        if (seen != 15 || p[1]) return PyLong_FromLong(-1);
    }
    return PyLong_FromSsize_t(count);
}
