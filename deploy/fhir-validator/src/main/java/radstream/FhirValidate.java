package radstream;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/** Validates JSON files against base FHIR R4 4.0.1, offline. Exit 1 if any file has an error, 2 on wrong use. -Dquiet=true: errors only, -Dbest=true: best-practice hints too. */
public class FhirValidate {
    public static void main(String[] files) {
        if (files.length == 0) {
            System.err.println("usage: FhirValidate FILE.json...");
            System.exit(2);
        }
        FhirValidator validator = validator();
        boolean bad = false;
        for (String file : files) bad |= !isValid(validator, file);
        System.exit(bad ? 1 : 0);
    }

    private static FhirValidator validator() {
        FhirContext context = FhirContext.forR4();
        FhirInstanceValidator module = new FhirInstanceValidator(new ValidationSupportChain(
                new DefaultProfileValidationSupport(context),
                new CommonCodeSystemsTerminologyService(context),
                new InMemoryTerminologyServerValidationSupport(context)));
        module.setErrorForUnknownProfiles(false);
        if (!Boolean.getBoolean("best")) module.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
        return context.newValidator().registerValidatorModule(module);
    }

    private static boolean isValid(FhirValidator validator, String file) {
        int errors = 0, warnings = 0;
        try {
            for (SingleValidationMessage message : validator.validateWithResult(Files.readString(Path.of(file))).getMessages()) {
                boolean error = message.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal();
                if (error) errors++;
                else if (message.getSeverity() == ResultSeverityEnum.WARNING) warnings++;
                if (error || !Boolean.getBoolean("quiet")) {
                    System.out.printf("%s:%s:%s: %s: %s: %s%n", file, message.getLocationLine(), message.getLocationCol(),
                            message.getSeverity(), message.getLocationString(), message.getMessage());
                }
            }
        } catch (Exception unreadable) { // or not FHIR at all
            errors++;
            System.out.printf("%s: FATAL: %s%n", file, unreadable.getMessage());
        }
        System.out.printf("%s: %s, %d errors, %d warnings%n", file, errors == 0 ? "OK" : "FAILED", errors, warnings);
        return errors == 0;
    }
}
