// language_cld2.cpp: CLD2 behind a C face; see language.h. CLD2 throws nothing and keeps nothing between calls.
#include "language.h"

#include <cstdio> // compact_lang_det.h uses FILE and does not say so
#include <cstring>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

extern "C" bool language_of(const char *text, size_t length, language_guess *out) {
    CLD2::Language languages[3];
    int percents[3] = {0, 0, 0}, bytes = 0, valid = 0;
    double scores[3];
    bool reliable = false;
    CLD2::CLDHints hints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
    std::memset(out, 0, sizeof *out);
    if (length > 1 << 30) {
        length = 1 << 30;
    }
    CLD2::ExtDetectLanguageSummaryCheckUTF8(text, static_cast<int>(length), true, &hints, 0, languages,
                                            percents, scores, nullptr, &bytes, &reliable, &valid);
    for (int i = 0; i < 3; i++) {
        if (languages[i] != CLD2::UNKNOWN_LANGUAGE) {
            out->codes[i] = CLD2::LanguageCode(languages[i]);
            out->percents[i] = percents[i];
        }
    }
    out->reliable = reliable;
    return out->codes[0] != nullptr;
}

extern "C" bool language_is_known(const char *code) {
    return CLD2::GetLanguageFromName(code) != CLD2::UNKNOWN_LANGUAGE;
}
